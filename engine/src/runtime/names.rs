//! Under which of the names that exporters give does a graph have an input or output?
use super::{Graph, Port};
use crate::Result;

impl Graph {
    /// The first of `names` that is an input; else what is said of the first of them.
    pub(crate) fn input_of(&self, names: &[&'static str]) -> Result<&'static str> {
        match names.iter().find(|name| self.wanted(name).is_some()) {
            Some(name) => Ok(name),
            None => self.input(names[0]).map(|_| names[0]),
        }
    }

    /// The first of `names` that is an output, or the only output there is, whatever its name.
    pub(crate) fn output_of(&self, names: &[&str]) -> Result<String> {
        match (names.iter().find(|name| self.outputs().iter().any(|port| port.name == **name)), self.outputs()) {
            (Some(name), _) => Ok((*name).to_owned()),
            (None, [port]) => Ok(port.name.clone()),
            (None, _) => self.output(names[0]).map(|port| port.name.clone()),
        }
    }

    /// The input `name`, if the graph has it.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Port> {
        self.inputs().iter().find(|port| port.name == name)
    }
}
