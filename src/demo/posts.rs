//! The dispatchers of one CAD server: two, and mostly a third.

use std::time::Duration;

use super::chance::Chance;

/// How many people share a post, in turn.
const PEOPLE: u32 = 4;

/// A dispatcher on duty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispatcher {
    pub(super) id: u32,
    /// Whether the API's `isDispatch` says so.
    pub(super) is_flagged: bool,
    /// The page where the API lists it: an officer's, or that of the dispatchers.
    pub(super) page: u8,
}

#[derive(Clone, Copy, Debug)]
struct Post {
    reliefs: u32,
    is_empty: bool,
}

/// The places of dispatchers.
#[derive(Debug)]
pub(super) struct Posts {
    first_id: u32,
    posts: [Post; Self::COUNT],
}

impl Posts {
    pub(super) const COUNT: usize = 3;

    /// Dispatchers at all posts; their ids are `first_id` and above.
    pub(super) fn new(first_id: u32) -> Self {
        let post = Post {
            reliefs: 0,
            is_empty: false,
        };
        Self {
            first_id,
            posts: [post; Self::COUNT],
        }
    }

    pub(super) fn first_id(&self) -> u32 {
        self.first_id
    }

    /// Has another dispatcher come, or the last post left empty for a while; returns how long this lasts.
    pub(super) fn relieve(&mut self, index: usize, chance: &mut Chance) -> Duration {
        let post = &mut self.posts[index];
        post.is_empty = index + 1 == Self::COUNT && !post.is_empty;
        if post.is_empty {
            chance.seconds(10 * 60..40 * 60)
        } else {
            post.reliefs += 1;
            chance.seconds(2 * 3600..4 * 3600)
        }
    }

    /// The dispatchers on duty. The API has two ways to say that a unit is one, and all three combinations occur.
    pub(super) fn dispatchers(&self) -> impl Iterator<Item = Dispatcher> {
        let marks = [(true, 0), (false, 3), (true, 3)];
        (0..)
            .zip(self.posts)
            .zip(marks)
            .filter(|((_, post), _)| !post.is_empty)
            .map(|((index, post), (is_flagged, page))| Dispatcher {
                id: self.first_id + index * PEOPLE + post.reliefs % PEOPLE,
                is_flagged,
                page,
            })
    }
}
