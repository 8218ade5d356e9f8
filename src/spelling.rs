//! Finds the known name that a misspelt one most likely stands for.

/// Minimum similarity (0 to 1, a Sørensen-Dice coefficient) at which a name counts as a typo of a known one. `TTL` for
/// `CACHE_TTL` has 0.4.
const MIN_SIMILARITY: f64 = 0.35;

/// The candidate whose name `text` is most likely a typo of; `None` if it is similar to none.
pub fn nearest<'a, T>(text: &str, candidates: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    candidates
        .map(|(name, candidate)| (strsim::sorensen_dice(name, text), candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .map(|(_, candidate)| candidate)
}
