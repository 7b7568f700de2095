//! Which operators take numbers of a type that few providers compute with? Asked of files that have such numbers.
use super::{Decoder, canonical};
use crate::runtime::{
    data_type::{BFLOAT16, FLOAT4E2M1, FLOAT8E8M0},
    wire::{Fault, Value},
};
use std::{
    collections::BTreeSet,
    io::{BufRead, Seek},
};

/// Whether few providers compute with this type.
pub(super) fn is_rare(data_type: i32) -> bool {
    (BFLOAT16..=20).contains(&data_type) || [FLOAT4E2M1, FLOAT8E8M0].contains(&data_type)
}

impl<R: BufRead + Seek> Decoder<R> {
    /// Goes through the model once more and counts the operators of ONNX that are given weights or inputs of rare types.
    /// Nodes come before weights in a file, so that the types are not known when nodes are read first.
    pub(super) fn operands(&mut self) -> Result<(), Fault> {
        if self.rare.is_empty() {
            return Ok(());
        }
        self.wire.rewind()?;
        self.each(self.wire.length(), |it, number, value| match (number, value) {
            (7, Value::Until(end)) => it.operands_of_graph(end),
            _ => Ok(()),
        })
    }

    /// `GraphProto`; how deep graphs are nested was looked at before.
    fn operands_of_graph(&mut self, end: u64) -> Result<(), Fault> {
        self.each(end, |it, number, value| match (number, value) {
            (1, Value::Until(end)) => it.operands_of_node(end),
            _ => Ok(()),
        })
    }

    /// `NodeProto`.
    fn operands_of_node(&mut self, end: u64) -> Result<(), Fault> {
        let (mut domain, mut name, mut types) = (String::new(), String::new(), BTreeSet::new());
        self.each(end, |it, number, value| {
            let Value::Until(end) = value else { return Ok(()) };
            match number {
                1 => {
                    let input = it.wire.text(end)?;
                    types.extend(it.rare.get(&input));
                }
                4 => name = it.wire.text(end)?,
                // `AttributeProto`: the graphs in it
                5 => it.each(end, |it, number, value| match (number, value) {
                    (6 | 11, Value::Until(end)) => it.operands_of_graph(end),
                    _ => Ok(()),
                })?,
                7 => domain = it.wire.text(end)?,
                _ => {}
            }
            Ok(())
        })?;
        if canonical(domain) == "ai.onnx" {
            for data_type in types {
                *self.found.operands.entry((name.clone(), data_type)).or_insert(0) += 1;
            }
        }
        Ok(())
    }
}
