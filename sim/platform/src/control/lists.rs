//! Doubly linked lists of sandboxes, by name. Links lie in a table of their own, eight bytes an
//! element, so that what changes in the neighbours of an element costs no cache line of theirs.

/// No element.
pub(super) const NIL: u32 = u32::MAX;

/// An element's neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub prev: u32,
    pub next: u32,
}

/// In no list.
pub(super) const UNLINKED: Links = Links { prev: NIL, next: NIL };

/// First and last element of a list.
#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
}

/// Lists of one kind. An element is in at most one of them.
#[derive(Debug)]
pub(super) struct Lists {
    ends: Vec<Ends>,
    links: Vec<Links>,
}

impl Lists {
    /// So many empty lists.
    pub(super) fn new(count: usize) -> Self {
        Self { ends: vec![Ends { head: NIL, tail: NIL }; count], links: Vec::new() }
    }

    /// Whether there are no lists of this kind.
    pub(super) fn is_absent(&self) -> bool {
        self.ends.is_empty()
    }

    /// The first element.
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        let head = self.ends[list].head;
        (head != NIL).then_some(head)
    }

    /// Adds an element at the end.
    pub(super) fn push_back(&mut self, list: usize, element: u32) {
        if self.links.len() <= element as usize {
            self.links.resize(element as usize + 1, UNLINKED);
        }
        let ends = &mut self.ends[list];
        self.links[element as usize] = Links { prev: ends.tail, next: NIL };
        match ends.tail {
            NIL => ends.head = element,
            tail => self.links[tail as usize].next = element,
        }
        ends.tail = element;
    }

    /// Takes an element out.
    pub(super) fn remove(&mut self, list: usize, element: u32) {
        let ends = &mut self.ends[list];
        let Links { prev, next } = std::mem::replace(&mut self.links[element as usize], UNLINKED);
        match prev {
            NIL => ends.head = next,
            prev => self.links[prev as usize].next = next,
        }
        match next {
            NIL => ends.tail = prev,
            next => self.links[next as usize].prev = prev,
        }
    }
}

/// Lists that nobody has asked for are not kept: the first question makes them, from then on they are
/// kept up to date. Most runs never ask what goes first when memory is needed, as it never is, and
/// then a use of a sandbox costs nothing here.
#[derive(Debug)]
pub(super) enum OnDemand {
    /// Nobody has asked; so many lists they would be.
    Asleep(usize),
    /// Kept.
    Kept(Lists),
}

impl OnDemand {
    /// The lists. If nobody has asked before, `elements` are put in, each with its list, in this
    /// order.
    pub(super) fn awake(&mut self, elements: impl FnOnce() -> Vec<(usize, u32)>) -> &Lists {
        if let Self::Asleep(count) = *self {
            let mut lists = Lists::new(count);
            for (list, element) in elements() {
                lists.push_back(list, element);
            }
            *self = Self::Kept(lists);
        }
        match self {
            Self::Kept(lists) => lists,
            Self::Asleep(_) => unreachable!("made just now"),
        }
    }

    /// As [`Lists::push_back`].
    pub(super) fn push_back(&mut self, list: usize, element: u32) {
        if let Self::Kept(lists) = self {
            lists.push_back(list, element);
        }
    }

    /// As [`Lists::remove`].
    pub(super) fn remove(&mut self, list: usize, element: u32) {
        if let Self::Kept(lists) = self {
            lists.remove(list, element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_made_when_asked_for_hold_what_was_there_and_what_comes() {
        let mut lists = OnDemand::Asleep(2);
        lists.push_back(0, 7);
        lists.remove(0, 7);
        let there = || vec![(1, 4), (0, 2), (1, 3)];
        assert_eq!((lists.awake(there).first(0), lists.awake(there).first(1)), (Some(2), Some(4)));
        lists.push_back(0, 9);
        lists.remove(0, 2);
        lists.remove(1, 4);
        let none = || unreachable!("they are there");
        assert_eq!((lists.awake(none).first(0), lists.awake(none).first(1)), (Some(9), Some(3)));
    }
}
