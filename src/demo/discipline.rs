//! What units do: police, fire and emergency medical services.

/// What a unit does. The numbers are those of the API's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discipline {
    Police = 0,
    Fire = 1,
    Ems = 2,
}

/// The disciplines of five units in a row: three officers, a firefighter and a medic.
const CREW: [Discipline; 5] = [
    Discipline::Police,
    Discipline::Police,
    Discipline::Fire,
    Discipline::Police,
    Discipline::Ems,
];

impl Discipline {
    /// The discipline of a unit, which follows from its id.
    pub(super) fn of(unit: u32) -> Self {
        CREW[unit as usize % CREW.len()]
    }

    /// The department of a unit with this discipline.
    pub(super) fn department(self, unit: u32) -> &'static str {
        match self {
            // Every third officer is a sheriff's deputy.
            Self::Police if unit.is_multiple_of(3) => "BCSO",
            Self::Police => "LSPD",
            Self::Fire => "LSFD",
            Self::Ems => "EMS",
        }
    }

    /// The ranks of this discipline, from the lowest.
    pub(super) fn ranks(self) -> [&'static str; 4] {
        match self {
            Self::Police => ["Officer", "Corporal", "Sergeant", "Captain"],
            Self::Fire => ["Firefighter", "Engineer", "Lieutenant", "Captain"],
            Self::Ems => ["EMT", "Paramedic", "Supervisor", "Chief"],
        }
    }
}
