//! Doubly linked lists threaded through a slab: whoever keeps the slab says where an element's links
//! are.

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
pub(super) struct Ends {
    head: u32,
    tail: u32,
}

/// Lists of one kind. An element is in at most one of them.
#[derive(Debug)]
pub(super) struct Lists(Vec<Ends>);

impl Lists {
    /// So many empty lists.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Ends { head: NIL, tail: NIL }; count])
    }

    /// Whether there are no lists of this kind.
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    /// The first element.
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        let head = self.0[list].head;
        (head != NIL).then_some(head)
    }

    /// Adds an element at the end.
    pub(super) fn push_back<S>(
        &mut self,
        list: usize,
        element: u32,
        slab: &mut [S],
        links: impl Fn(&mut S) -> &mut Links,
    ) {
        let ends = &mut self.0[list];
        *links(&mut slab[element as usize]) = Links { prev: ends.tail, next: NIL };
        match ends.tail {
            NIL => ends.head = element,
            tail => links(&mut slab[tail as usize]).next = element,
        }
        ends.tail = element;
    }

    /// Takes an element out.
    pub(super) fn remove<S>(
        &mut self,
        list: usize,
        element: u32,
        slab: &mut [S],
        links: impl Fn(&mut S) -> &mut Links,
    ) {
        let ends = &mut self.0[list];
        let Links { prev, next } = std::mem::replace(links(&mut slab[element as usize]), UNLINKED);
        match prev {
            NIL => ends.head = next,
            prev => links(&mut slab[prev as usize]).next = next,
        }
        match next {
            NIL => ends.tail = prev,
            next => links(&mut slab[next as usize]).prev = prev,
        }
    }
}
