//! What does an edit of an ONNX file read of it, and how does it add to it?
//!
//! The structs declare the fields of onnx.proto that an edit needs. All others, weights above all, are skipped without a
//! copy, and stay in the file as they are, because an edit only appends.
use super::data_type::{FLOAT, FLOAT16};
use crate::{Error, Result};
use prost::{Message, bytes::Bytes};
use std::collections::BTreeSet;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    /// The version of the format.
    #[prost(int64, optional, tag = "1")]
    pub(super) format: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Structure>,
    /// Each an `OperatorSetIdProto`, still encoded: which operators are meant.
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(super) operators: Vec<Bytes>,
}

/// `GraphProto`: nodes, in an order in which they can run, weights, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Structure {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<Node>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
    /// Each a `TensorProto`, still encoded, so that its numbers are not copied: see [`Weight`].
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(super) weights: Vec<Bytes>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) inputs: Vec<Output>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) outputs: Vec<Output>,
}

/// `TensorProto`: name, shape, type and numbers of a weight, and the `StringStringEntryProto`s that say in which file it
/// lies, if in another.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Weight {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) shape: Vec<i64>,
    /// One of `TensorProto.DataType`.
    #[prost(int32, tag = "2")]
    pub(crate) element: i32,
    #[prost(float, repeated, tag = "4")]
    floats: Vec<f32>,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "9")]
    raw: Bytes,
    #[prost(message, repeated, tag = "13")]
    place: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `AttributeProto`: what an operator is told beside its inputs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    pub(crate) float: f32,
    #[prost(int64, tag = "3")]
    pub(crate) int: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) text: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(crate) tensor: Option<Weight>,
    #[prost(int64, repeated, tag = "8")]
    pub(crate) ints: Vec<i64>,
}

/// Weights of no more values are worth a look at their numbers.
const FEW: usize = 4096;

impl Weight {
    /// How many values it has.
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |count, axis| count.checked_mul(usize::try_from(*axis).ok()?))
    }

    /// Its numbers, if they are real and lie in the graph's own file.
    pub(crate) fn numbers(&self) -> Option<Vec<f32>> {
        match self.element {
            _ if !self.place.is_empty() => None,
            FLOAT if !self.raw.is_empty() => {
                let words = self.raw.as_chunks::<4>().0;
                Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
            }
            FLOAT16 if !self.raw.is_empty() => {
                let words = self.raw.as_chunks::<2>().0;
                Some(words.iter().map(|word| half::f16::from_le_bytes(*word).to_f32()).collect())
            }
            FLOAT => Some(self.floats.clone()),
            _ => None,
        }
    }
}

impl Node {
    /// The attribute `name`, if the node has it.
    pub(crate) fn attribute(&self, name: &str) -> Option<Attribute> {
        self.attributes.iter().filter_map(|bytes| Attribute::decode(bytes.clone()).ok()).find(|each| each.name == name)
    }
}

/// `NodeProto`: one operator, between values that are known by name. An empty name is a value left out.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    /// Each an `AttributeProto`, still encoded: a `Constant` may hold a weight in it.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(crate) attributes: Vec<Bytes>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

/// `ValueInfoProto`: a name, and the `TypeProto`, still encoded.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Output {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) kind: Option<Bytes>,
}

impl Structure {
    /// Nodes and outputs to add to a graph.
    pub(crate) fn addition(nodes: Vec<Node>, outputs: Vec<Output>) -> Self {
        Self { nodes, outputs, ..Self::default() }
    }

    /// What is known of each weight; its numbers stay where they are.
    pub(crate) fn weights(&self) -> impl Iterator<Item = Weight> + '_ {
        self.weights.iter().filter_map(|bytes| Weight::decode(bytes.clone()).ok())
    }

    /// Takes weights of few values into the graph, of which `read` tells the bytes of a file from a place on. Exporters
    /// put even the ones and zeros of a norm into the file beside the graph.
    pub(super) fn take_in(&mut self, mut read: impl FnMut(&str, u64, usize) -> Option<Vec<u8>>) {
        for bytes in &mut self.weights {
            let Ok(mut weight) = Weight::decode(bytes.clone()) else { continue };
            let size = match weight.element {
                FLOAT => 4,
                FLOAT16 => 2,
                _ => continue,
            };
            let entry = |key: &str| weight.place.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
            let (file, start) = (entry("location"), entry("offset").map_or(Some(0), |offset| offset.parse().ok()));
            let (Some(file), Some(start), Some(count)) = (file, start, weight.count()) else { continue };
            if let Some(raw) = (count <= FEW).then(|| read(file, start, count * size)).flatten() {
                weight = Weight { raw: raw.into(), place: Vec::new(), ..weight };
                *bytes = weight.encode_to_vec().into();
            }
        }
    }

    /// The files that hold weights, as paths relative to the ONNX file.
    pub(super) fn weight_files(&self) -> BTreeSet<String> {
        let places = self.weights().flat_map(|weight| weight.place);
        places.filter(|entry| entry.key == "location").map(|entry| entry.value).collect()
    }
}

/// The model in the bytes of the ONNX file `name`.
pub(super) fn read(name: &str, file: Bytes) -> Result<Model> {
    Model::decode(file).map_err(|error| {
        Error::model(format!("`{name}` is not an ONNX file: {error}"), "export or download the model again")
    })
}

/// An ONNX file with an addition.
#[derive(Debug)]
pub(super) struct Extended {
    pub(super) bytes: Vec<u8>,
    /// The files that hold weights, as paths relative to the ONNX file.
    pub(super) weight_files: BTreeSet<String>,
}

/// The bytes of the ONNX file `name` with the nodes and outputs that `edit` adds to what it is shown.
///
/// They are appended as a second `graph` field: a reader of protobuf merges a message that comes twice, and joins its
/// lists ("Last One Wins" in the encoding guide of Protocol Buffers).
pub(super) fn extended(
    name: &str,
    file: Vec<u8>,
    edit: impl FnOnce(&Structure) -> Result<Structure>,
) -> Result<Extended> {
    let file = Bytes::from(file);
    let graph = read(name, file.clone())?.graph.unwrap_or_default();
    let addition = Model { graph: Some(edit(&graph)?), ..Model::default() }.encode_to_vec();
    let weight_files = graph.weight_files();
    drop(graph);
    let mut bytes = Vec::from(file); // nobody else holds them any more, so they are not copied
    bytes.extend(addition);
    Ok(Extended { bytes, weight_files })
}

#[cfg(test)]
impl Structure {
    /// A graph from the input `x`, of 32-bit planes, with these nodes and weights, for tests.
    pub(crate) fn for_test(nodes: Vec<Node>, weights: &[(&str, &[i64], Vec<f32>)]) -> Self {
        let weight = |(name, shape, floats): &(&str, &[i64], Vec<f32>)| Weight {
            name: (*name).into(),
            shape: shape.to_vec(),
            element: FLOAT,
            floats: floats.clone(),
            ..Weight::default()
        };
        let weights = weights.iter().map(|each| weight(each).encode_to_vec().into()).collect();
        Self { nodes, weights, inputs: vec![Output { name: "x".into(), kind: None }], ..Self::default() }
    }
}

#[cfg(test)]
impl Node {
    /// The node that gives `output`, for tests.
    pub(crate) fn for_test(op_type: &str, inputs: &[&str], output: &str, numbers: &[(&str, i64)]) -> Self {
        let attribute =
            |(name, int): &(&str, i64)| Attribute { name: (*name).into(), int: *int, ..Attribute::default() };
        Self {
            op_type: op_type.into(),
            inputs: inputs.iter().map(|input| (*input).into()).collect(),
            outputs: vec![output.into()],
            attributes: numbers.iter().map(|number| attribute(number).encode_to_vec().into()).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::data_type::INT64, *};

    fn node(name: &str) -> Node {
        Node { name: name.into(), attributes: vec![Bytes::from_static(b"xyz")], ..Node::default() }
    }

    fn file(structure: Structure) -> Vec<u8> {
        Model { graph: Some(structure), ..Model::default() }.encode_to_vec()
    }

    #[test]
    fn an_addition_joins_the_lists_and_leaves_every_byte_before_it() {
        let output = Output { name: "out".into(), kind: None };
        // what the structs do not declare: the model's version, and a weight (field 5 of the graph) with its numbers
        let weight = [&[0x08, 8, 0x3a, 7, 0x2a, 5, 0x4a, 3][..], b"abc"].concat();
        let old = [weight, file(Structure::addition(vec![node("a")], vec![]))].concat();
        let mut bytes = Vec::with_capacity(old.len() + 100);
        bytes.extend(&old);
        let place = bytes.as_ptr();
        let new = extended("m", bytes, |seen| {
            assert_eq!(seen.nodes, [node("a")]);
            Ok(Structure::addition(vec![node("b")], vec![output.clone()]))
        })
        .unwrap()
        .bytes;
        assert_eq!(new[..old.len()], old);
        assert_eq!(new.as_ptr(), place); // not copied
        let merged = Model::decode(&*new).unwrap().graph.unwrap();
        assert_eq!((merged.nodes, merged.outputs), (vec![node("a"), node("b")], vec![output]));
    }

    #[test]
    fn small_weights_are_taken_in_and_large_ones_stay_outside() {
        let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
        let weight = |name: &str, element, shape: &[i64], start: &str| Weight {
            name: name.into(),
            element,
            shape: shape.to_vec(),
            place: vec![entry("location", "beside"), entry("offset", start)],
            ..Weight::default()
        };
        let weights = [
            weight("ones", FLOAT, &[2, 1, 1], "8"),
            weight("halves", FLOAT16, &[2], "16"),
            weight("large", FLOAT, &[65, 64], "0"),
            weight("ids", INT64, &[1], "0"),
            weight("cut off", FLOAT, &[2], "24"),
        ];
        let weights = weights.iter().map(|weight| weight.encode_to_vec().into()).collect();
        let mut graph = Structure { weights, ..Structure::default() };
        let file = [vec![7; 8], [1.0_f32, -2.0].map(f32::to_le_bytes).concat(), vec![0, 0x3c, 0, 0xb8]].concat();
        graph.take_in(|name, start, length| {
            assert_eq!(name, "beside");
            Some(file.get(start as usize..start as usize + length)?.to_vec())
        });
        let numbers: Vec<_> = graph.weights().map(|weight| weight.numbers()).collect();
        assert_eq!(numbers, [Some(vec![1.0, -2.0]), Some(vec![1.0, -0.5]), None, None, None]);
        assert_eq!(graph.weight_files(), BTreeSet::from(["beside".to_owned()]));
        assert_eq!(graph.weights().next().unwrap().shape, [2, 1, 1]);
    }

    /// Every cut and every single wrong byte of a file is an error or another structure, never a panic.
    #[test]
    fn broken_bytes_are_the_models_fault() {
        let old = file(Structure::addition(vec![node("a"), node("b")], vec![Output::default()]));
        let mut errors = 0;
        for place in 0..old.len() {
            let mut bad = old.clone();
            bad[place] ^= 0xff;
            for bytes in [&old[..place], &bad] {
                match extended("m", bytes.to_vec(), |seen| Ok(seen.clone())) {
                    Ok(_) => {}
                    Err(error) => {
                        assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("`m`"), "{error}");
                        errors += 1;
                    }
                }
            }
        }
        assert!(errors > old.len() / 2, "{errors}");
    }
}
