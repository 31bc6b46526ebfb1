//! Lines read one at a time, after a file that names the hosts.

use super::super::ast::{Scenario, Step};
use super::{ParseError, Parser};

/// Knows the hosts and regions of a file.
pub struct Lines {
    parser: Parser,
}

impl Lines {
    pub fn after(scenario: &Scenario) -> Lines {
        let mut parser = Parser::new();
        parser.real = scenario.real.clone();
        parser.hosts = scenario.hosts.clone();
        parser.regions = scenario.regions.clone();
        Lines { parser }
    }

    /// Reads a line that is no line of a file's head and no block.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn read(&mut self, text: &str) -> Result<Step, ParseError> {
        let clients = self.parser.clients.clone();
        if let Err(error) = self.parser.take_line(text) {
            self.parser.clients = clients;
            return Err(error);
        }
        let step = self.parser.blocks.last_mut().and_then(|block| block.steps.pop());
        step.ok_or_else(|| self.parser.error("nothing".to_owned(), super::STATEMENTS))
    }
}
