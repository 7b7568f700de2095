//! What does an ONNX file say of itself? Read without ONNX Runtime, and without its weights.
mod operands;

use super::{
    Port, data_type,
    graph::Element,
    wire::{Fault, Value, Wire},
};
use crate::{Error, Result};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Seek},
    path::Path,
};

/// Graphs within graphs: exporters nest two or three.
const DEEPEST: usize = 32;
/// More things of one kind are the work of no exporter.
const MOST_THINGS: usize = 1 << 20;

/// What stands in place of a large file in a repository that was cloned without Git LFS.
const POINTER: &str = "it is a pointer of Git LFS to a file that was not fetched";

/// What an ONNX file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Signature {
    /// What the graph is given. A weight that is listed among the inputs too, as IR 3 had it, is none.
    pub(crate) inputs: Vec<Declared>,
    /// What it gives.
    pub(crate) outputs: Vec<Declared>,
    /// The version of the format (`ir_version`).
    pub(crate) format: i64,
    /// The program that wrote it.
    pub(crate) producer: String,
    /// That program's version.
    pub(crate) producer_version: String,
    /// The version of each domain's operators; ONNX's own domain is `ai.onnx`.
    pub(crate) opsets: BTreeMap<String, i64>,
    /// How often each operator of each domain stands in the graph, in graphs within it, and in functions.
    pub(crate) operators: BTreeMap<(String, String), u64>,
    /// How many operators of ONNX are given weights or inputs of a type that few providers compute with, by name and
    /// type.
    pub(crate) operands: BTreeMap<(String, i32), u64>,
    /// The functions that the file defines, by domain and name, and how often each is called.
    pub(crate) functions: BTreeMap<(String, String), u64>,
    /// Its weights by `TensorProto.DataType`.
    pub(crate) weights: BTreeMap<i32, Tally>,
    /// The files with weights, as paths relative to the ONNX file.
    pub(crate) weight_files: BTreeMap<String, WeightFile>,
}

/// An input or output as the file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// One of `TensorProto.DataType`; 0 for what is no tensor.
    pub(crate) data_type: i32,
    /// The axes; `None` where not even their number is known.
    pub(crate) axes: Option<Vec<DeclaredAxis>>,
}

/// An axis as the file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeclaredAxis {
    /// Of this length.
    Fixed(u64),
    /// Of any length, called so.
    Named(String),
    /// Of any length.
    Free,
}

/// How many weights there are, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) tensors: u64,
    /// Numbers in all of them.
    pub(crate) values: u64,
    /// Bytes that these take in memory.
    pub(crate) bytes: u64,
}

/// A file that holds weights of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WeightFile {
    pub(crate) tensors: u64,
    /// Bytes of all its weights.
    pub(crate) bytes: u64,
    /// The bytes that it must at least have.
    pub(crate) end: u64,
}

impl Signature {
    /// Reads the ONNX file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(Error::io("open", path))?;
        Self::decode(BufReader::new(file), length).map_err(|fault| match fault {
            Fault::Read(error) => Error::io("read", path)(error),
            fault => not_onnx(&path.display().to_string(), &fault, length),
        })
    }

    /// Reads the bytes of an ONNX file, which messages call `name`.
    pub(crate) fn of_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::decode(Cursor::new(bytes), length).map_err(|fault| not_onnx(name, &fault, length))
    }

    /// The weights of all types.
    pub(crate) fn all_weights(&self) -> Tally {
        self.weights.values().fold(Tally::default(), |sum, tally| sum.plus(tally.tensors, tally.values, tally.bytes))
    }

    fn decode(mut source: impl BufRead + Seek, length: u64) -> Result<Self, Fault> {
        let start = source.fill_buf()?;
        if start.get(4..8) == Some(b"ORTM") {
            return Err(Fault::Odd("it is in ONNX Runtime's own format"));
        }
        if start.starts_with(b"version https://git-lfs") {
            return Err(Fault::Odd(POINTER));
        }
        let wire = Wire::new(source, length);
        let mut decoder = Decoder { wire, found: Self::default(), names: HashSet::new(), rare: HashMap::new() };
        decoder.model()?;
        decoder.operands()?;
        let Decoder { mut found, names, .. } = decoder;
        found.inputs.retain(|input| !names.contains(&input.name));
        for (function, calls) in &mut found.functions {
            *calls = found.operators.remove(function).unwrap_or(0);
        }
        Ok(found)
    }
}

impl Tally {
    fn plus(self, tensors: u64, values: u64, bytes: u64) -> Self {
        Self {
            tensors: self.tensors.saturating_add(tensors),
            values: self.values.saturating_add(values),
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

impl Declared {
    /// It as a loaded graph has it.
    pub(crate) fn port(&self) -> Port {
        let element = match self.data_type {
            data_type::FLOAT => Element::F32,
            data_type::FLOAT16 => Element::F16,
            data_type::INT64 => Element::I64,
            data_type::INT32 => Element::I32,
            _ => Element::Other,
        };
        let length = |axis: &DeclaredAxis| match axis {
            DeclaredAxis::Fixed(length) => usize::try_from(*length).ok(),
            _ => None,
        };
        Port { name: self.name.clone(), element, axes: self.axes.iter().flatten().map(length).collect() }
    }

    /// Its shape, with the names of free axes: `[batch, 4, ?]`.
    pub(crate) fn shape_text(&self) -> String {
        let Some(axes) = &self.axes else { return "of any rank".into() };
        let text = |axis: &DeclaredAxis| match axis {
            DeclaredAxis::Fixed(length) => length.to_string(),
            DeclaredAxis::Named(name) => name.clone(),
            DeclaredAxis::Free => "?".into(),
        };
        format!("[{}]", axes.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}

fn not_onnx(name: &str, fault: &Fault, length: u64) -> Error {
    let what = match fault {
        Fault::Read(error) => format!("cannot read `{name}`: {error}"),
        Fault::Odd(why) => format!("`{name}` is not an ONNX file: {why}"),
        Fault::CutOff(missing) => {
            format!("`{name}` is cut off or not an ONNX file: after its {length} bytes, {missing} more should follow")
        }
    };
    let is_pointer = matches!(fault, Fault::Odd(POINTER));
    let again = "export or download the model again";
    Error::model(what, if is_pointer { "fetch the files of the model with `git lfs pull`" } else { again })
}

/// Goes through the messages of onnx.proto; the numbers are those of their fields.
struct Decoder<R> {
    wire: Wire<R>,
    found: Signature,
    /// The names of weights of the outermost graph.
    names: HashSet<String>,
    /// The types of weights and inputs that few providers compute with.
    rare: HashMap<String, i32>,
}

impl<R: BufRead + Seek> Decoder<R> {
    /// `ModelProto`.
    fn model(&mut self) -> Result<(), Fault> {
        let mut graphs = 0;
        self.each(self.wire.length(), |it, number, value| {
            match (number, value) {
                (1, Value::Number(version)) => it.found.format = version as i64,
                (2, Value::Until(end)) => it.found.producer = it.wire.text(end)?,
                (3, Value::Until(end)) => it.found.producer_version = it.wire.text(end)?,
                (7, Value::Until(end)) => {
                    graphs += 1;
                    it.graph(end, 0)?;
                }
                (8, Value::Until(end)) => it.opset(end)?,
                (25, Value::Until(end)) => it.function(end)?,
                _ => {}
            }
            Ok(())
        })?;
        if graphs == 0 { Err(Fault::Odd("it has no graph")) } else { Ok(()) }
    }

    /// As [`Wire::fields`].
    fn each(
        &mut self,
        end: u64,
        mut take: impl FnMut(&mut Self, u64, Value) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some((number, value)) = self.wire.field(end)? {
            take(self, number, value)?;
            self.wire.leave(value)?;
        }
        Ok(())
    }

    /// `OperatorSetIdProto`.
    fn opset(&mut self, end: u64) -> Result<(), Fault> {
        let (mut domain, mut version) = (String::new(), 0);
        self.each(end, |it, number, value| {
            match (number, value) {
                (1, Value::Until(end)) => domain = it.wire.text(end)?,
                (2, Value::Number(number)) => version = number as i64,
                _ => {}
            }
            Ok(())
        })?;
        let known = self.found.opsets.entry(canonical(domain)).or_insert(version);
        *known = version.max(*known); // functions say theirs, too
        few(self.found.opsets.len())
    }

    /// `FunctionProto`.
    fn function(&mut self, end: u64) -> Result<(), Fault> {
        let (mut domain, mut name) = (String::new(), String::new());
        self.each(end, |it, number, value| {
            match (number, value) {
                (1, Value::Until(end)) => name = it.wire.text(end)?,
                (7, Value::Until(end)) => it.node(end, 0)?,
                (9, Value::Until(end)) => it.opset(end)?,
                (10, Value::Until(end)) => domain = it.wire.text(end)?,
                _ => {}
            }
            Ok(())
        })?;
        self.found.functions.insert((canonical(domain), name), 0);
        few(self.found.functions.len())
    }

    /// `GraphProto`, within `depth` others.
    fn graph(&mut self, end: u64, depth: usize) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(Fault::Odd("its graphs are nested too deeply"));
        }
        self.each(end, |it, number, value| {
            let Value::Until(end) = value else { return Ok(()) };
            match number {
                1 => it.node(end, depth)?,
                5 => {
                    let name = it.weight(end)?;
                    it.remember(name, depth)?;
                }
                15 => it.sparse_weight(end, depth)?,
                11 if depth == 0 => {
                    let input = it.declared(end)?;
                    it.remember_type(&input.name, input.data_type)?;
                    it.found.inputs.push(input);
                    few(it.found.inputs.len())?;
                }
                12 if depth == 0 => {
                    let output = it.declared(end)?;
                    it.found.outputs.push(output);
                    few(it.found.outputs.len())?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Keeps the name of a weight of the outermost graph.
    fn remember(&mut self, name: String, depth: usize) -> Result<(), Fault> {
        if depth == 0 {
            self.names.insert(name);
        }
        few(self.names.len())
    }

    /// Keeps the type of a weight or an input, if it is a rare one.
    fn remember_type(&mut self, name: &str, data_type: i32) -> Result<(), Fault> {
        if operands::is_rare(data_type) {
            self.rare.insert(name.to_owned(), data_type);
        }
        few(self.rare.len())
    }

    /// `NodeProto`.
    fn node(&mut self, end: u64, depth: usize) -> Result<(), Fault> {
        let (mut domain, mut name) = (String::new(), String::new());
        self.each(end, |it, number, value| {
            match (number, value) {
                (4, Value::Until(end)) => name = it.wire.text(end)?,
                (5, Value::Until(end)) => it.attribute(end, depth)?,
                (7, Value::Until(end)) => domain = it.wire.text(end)?,
                _ => {}
            }
            Ok(())
        })?;
        *self.found.operators.entry((canonical(domain), name)).or_insert(0) += 1;
        few(self.found.operators.len())
    }

    /// `AttributeProto`: the graphs in it.
    fn attribute(&mut self, end: u64, depth: usize) -> Result<(), Fault> {
        self.each(end, |it, number, value| match (number, value) {
            (6 | 11, Value::Until(end)) => it.graph(end, depth + 1),
            _ => Ok(()),
        })
    }

    /// `SparseTensorProto`: the name and the type are those of its values.
    fn sparse_weight(&mut self, end: u64, depth: usize) -> Result<(), Fault> {
        self.each(end, |it, number, value| match (number, value) {
            (1, Value::Until(end)) => {
                let name = it.weight(end)?;
                it.remember(name, depth)
            }
            _ => Ok(()),
        })
    }

    /// `TensorProto`: counted; its name.
    fn weight(&mut self, end: u64) -> Result<String, Fault> {
        let (mut name, mut kind, mut values) = (String::new(), 0, Some(1_u64));
        let mut place = Place::default();
        self.each(end, |it, number, value| {
            match (number, value) {
                (1, Value::Number(axis)) => values = values.and_then(|count| count.checked_mul(axis)),
                (1, Value::Until(end)) => {
                    while it.wire.is_before(end) {
                        let axis = it.wire.varint(end)?;
                        values = values.and_then(|count| count.checked_mul(axis));
                    }
                }
                (2, Value::Number(number)) => kind = number as i32,
                (8, Value::Until(end)) => name = it.wire.text(end)?,
                (13, Value::Until(end)) => it.entry(end, &mut place)?,
                _ => {}
            }
            Ok(())
        })?;
        self.remember_type(&name, kind)?;
        let values = values.unwrap_or(u64::MAX);
        let bytes = data_type::bytes(kind, values);
        let tally = self.found.weights.entry(kind).or_default();
        *tally = tally.plus(1, values, bytes);
        few(self.found.weights.len())?;
        if let Some(file) = place.file {
            let bytes = place.length.unwrap_or(bytes);
            let known = self.found.weight_files.entry(file).or_default();
            known.tensors += 1;
            known.bytes = known.bytes.saturating_add(bytes);
            known.end = known.end.max(place.start.saturating_add(bytes));
            few(self.found.weight_files.len())?;
        }
        Ok(name)
    }

    /// `StringStringEntryProto`: where a weight lies.
    fn entry(&mut self, end: u64, place: &mut Place) -> Result<(), Fault> {
        let (mut key, mut text) = (String::new(), String::new());
        self.each(end, |it, number, value| {
            match (number, value) {
                (1, Value::Until(end)) => key = it.wire.text(end)?,
                (2, Value::Until(end)) => text = it.wire.text(end)?,
                _ => {}
            }
            Ok(())
        })?;
        match &*key {
            "location" => place.file = Some(text),
            "offset" => place.start = text.parse().unwrap_or(0),
            "length" => place.length = text.parse().ok(),
            _ => {}
        }
        Ok(())
    }

    /// `ValueInfoProto`.
    fn declared(&mut self, end: u64) -> Result<Declared, Fault> {
        let (mut name, mut data_type, mut axes) = (String::new(), 0, None);
        self.each(end, |it, number, value| match (number, value) {
            (1, Value::Until(end)) => {
                name = it.wire.text(end)?;
                Ok(())
            }
            // `TypeProto`, of which `tensor_type` is field 1
            (2, Value::Until(end)) => it.each(end, |it, number, value| match (number, value) {
                (1, Value::Until(end)) => it.tensor_type(end, &mut data_type, &mut axes),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })?;
        Ok(Declared { name, data_type, axes })
    }

    /// `TypeProto.Tensor`.
    fn tensor_type(
        &mut self,
        end: u64,
        data_type: &mut i32,
        axes: &mut Option<Vec<DeclaredAxis>>,
    ) -> Result<(), Fault> {
        self.each(end, |it, number, value| {
            match (number, value) {
                (1, Value::Number(number)) => *data_type = number as i32,
                (2, Value::Until(end)) => {
                    let axes = axes.get_or_insert_default();
                    it.each(end, |it, number, value| match (number, value) {
                        (1, Value::Until(end)) => {
                            axes.push(it.axis(end)?);
                            few(axes.len())
                        }
                        _ => Ok(()),
                    })?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// `TensorShapeProto.Dimension`.
    fn axis(&mut self, end: u64) -> Result<DeclaredAxis, Fault> {
        let mut axis = DeclaredAxis::Free;
        self.each(end, |it, number, value| {
            match (number, value) {
                // exporters of old wrote -1, some 0, for any length
                (1, Value::Number(length)) if (1..=i64::MAX as u64).contains(&length) => {
                    axis = DeclaredAxis::Fixed(length);
                }
                (2, Value::Until(end)) => {
                    let name = it.wire.text(end)?;
                    axis = if name.is_empty() { DeclaredAxis::Free } else { DeclaredAxis::Named(name) };
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(axis)
    }
}

/// Where a weight lies, if outside the graph's file.
#[derive(Default)]
struct Place {
    file: Option<String>,
    start: u64,
    length: Option<u64>,
}

/// ONNX's own domain has two names.
fn canonical(domain: String) -> String {
    if domain.is_empty() { "ai.onnx".into() } else { domain }
}

fn few(things: usize) -> Result<(), Fault> {
    if things > MOST_THINGS { Err(Fault::Odd("it lists more than a million things of a kind")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
