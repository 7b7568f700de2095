//! What does an edit of an ONNX file read of it, and how does it add to it?
//!
//! The structs declare the fields of onnx.proto that an edit needs. All others, weights above all, are skipped without a
//! copy, and stay in the file as they are, because an edit only appends.
use crate::{Error, Result};
use prost::{Message, bytes::Bytes};
use std::collections::BTreeSet;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Structure>,
}

/// `GraphProto` without its weights' numbers: nodes, in an order in which they can run, and outputs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Structure {
    #[prost(message, repeated, tag = "1")]
    pub(crate) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    weights: Vec<Weight>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) outputs: Vec<Output>,
}

/// `TensorProto`: of a weight, the `StringStringEntryProto`s that say in which file it lies, if in another.
#[derive(Clone, PartialEq, Message)]
struct Weight {
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
        Self { nodes, weights: Vec::new(), outputs }
    }
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
    let model = Model::decode(file.clone()).map_err(|error| {
        Error::model(format!("`{name}` is not an ONNX file: {error}"), "export or download the model again")
    })?;
    let graph = model.graph.unwrap_or_default();
    let addition = Model { graph: Some(edit(&graph)?) }.encode_to_vec();
    let places = graph.weights.into_iter().flat_map(|weight| weight.place);
    let weight_files = places.filter(|entry| entry.key == "location").map(|entry| entry.value).collect();
    drop((graph.nodes, graph.outputs));
    let mut bytes = Vec::from(file); // nobody else holds them any more, so they are not copied
    bytes.extend(addition);
    Ok(Extended { bytes, weight_files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node { name: name.into(), attributes: vec![Bytes::from_static(b"xyz")], ..Node::default() }
    }

    fn file(structure: Structure) -> Vec<u8> {
        Model { graph: Some(structure) }.encode_to_vec()
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
