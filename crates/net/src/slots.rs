//! What an epoll loop's events name: things at places, by tokens that do not outlive them.

/// The event that stands for the socket that visitors come to.
pub(crate) const LISTENER: u64 = u64::MAX;

/// Places for things that events name: an index, and a generation that tells a thing from one that
/// had the place before it.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    all: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots {
            all: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// The name under which the next [`Slots::insert`] puts its thing.
    pub(crate) fn next(&self) -> Name {
        let index = match self.free.last() {
            Some(&index) => index,
            None => self.all.len() as u32,
        };
        let generation = self.all.get(index as usize).map_or(0, |slot| slot.0);
        Name { index, generation }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Name {
        let name = self.next();
        match self.free.pop() {
            Some(index) => self.all[index as usize].1 = Some(thing),
            None => self.all.push((0, Some(thing))),
        }
        name
    }

    pub(crate) fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        let (generation, thing) = self.all.get_mut(name.index as usize)?;
        thing.as_mut().filter(|_| *generation == name.generation)
    }

    /// All things with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, &T)> {
        (0..)
            .zip(&self.all)
            .filter_map(|(index, (generation, thing))| {
                let generation = *generation;
                Some((Name { index, generation }, thing.as_ref()?))
            })
    }

    pub(crate) fn remove(&mut self, name: Name) -> Option<T> {
        let (generation, thing) = self.all.get_mut(name.index as usize)?;
        if *generation != name.generation {
            return None;
        }
        let thing = thing.take()?;
        *generation = generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(name.index);
        Some(thing)
    }
}

/// Keeps every token apart from [`LISTENER`].
const GENERATION_MASK: u32 = 0x3fff_ffff;

/// One place at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    index: u32,
    generation: u32,
}

impl Name {
    /// As an event's data, with one bit to spare.
    pub(crate) fn token(self, side: u64) -> u64 {
        u64::from(self.generation) << 33 | u64::from(self.index) << 1 | side
    }

    pub(crate) fn of(token: u64) -> (Name, u64) {
        let name = Name {
            index: (token >> 1) as u32,
            generation: (token >> 33) as u32,
        };
        (name, token & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_taken_again_is_another_name() {
        let mut slots = Slots::new();
        let first = slots.insert("a");
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.remove(first), None);
        let second = slots.insert("b");
        assert_ne!(first, second);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "b"));
        let name = Name {
            index: u32::MAX,
            generation: GENERATION_MASK,
        };
        for side in [0, 1] {
            assert_eq!(Name::of(name.token(side)), (name, side));
            assert_ne!(name.token(side), LISTENER);
        }
    }
}
