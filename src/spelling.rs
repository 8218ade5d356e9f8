//! Finds the known name that a misspelt one most likely stands for.

/// The candidate whose name is most similar to `text`, and how similar: from 0 to 1, a Sørensen-Dice coefficient.
///
/// `None` if there are no candidates.
pub fn most_alike<'a, T>(text: &str, candidates: impl Iterator<Item = (&'a str, T)>) -> Option<(f64, T)> {
    candidates
        .map(|(name, candidate)| (strsim::sorensen_dice(name, text), candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
}
