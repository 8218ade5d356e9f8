//! How alike two names are, to suggest what a typo means.

/// The candidate whose name is most like `text`, and the similarity from 0 to 1; `None` without candidates.
pub fn most_alike<'a, T>(text: &str, candidates: impl Iterator<Item = (&'a str, T)>) -> Option<(f64, T)> {
    candidates
        .map(|(name, candidate)| (strsim::sorensen_dice(name, text), candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
}
