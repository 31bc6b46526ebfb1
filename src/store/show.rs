//! The whole of a store in text.

use std::fmt;

use super::Store;

/// Every cell with its stamp, and all that is kept beside them; the tables' own order is not.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever adds a field says here whether it is part of what the store does next.
        let Store {
            config,
            hasher: _,
            dbs: _,
            flushed,
            books,
            open,
            alone,
            collected,
            inherited,
            clock,
        } = self;
        f.debug_struct("Store")
            .field("config", config)
            .field("cells", &self.cells())
            .field("flushed", flushed)
            .field("books", books)
            .field("open", open)
            .field("alone", alone)
            .field("collected", collected)
            .field("inherited", inherited)
            .field("clock", clock)
            .finish()
    }
}
