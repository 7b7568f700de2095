//! What does a picture of ComfyUI say of itself? Its file holds the graph of nodes that made it, as JSON.
//!
//! A node is `{"class_type": ..., "inputs": {...}}`; an input is a value or a link `[node, output]`. What is read is
//! what one sampler node leads to; where there are several, or a link leads to a node that is not known, nothing is
//! guessed.
use super::{Infotext, Origin, infotext::undrawable};
use crate::sampling::{FreshNoise, Sampler, find_sampler};
use serde_json::{Map, Value};

/// Nodes that sample.
const SAMPLERS: [&str; 4] = ["KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"];
/// Nodes that hold a part of what a custom sampler is given, and the input by which it is linked.
const PARTS: [(&str, &str); 4] =
    [("noise", "RandomNoise"), ("guider", "CFGGuider"), ("sampler", "KSamplerSelect"), ("sigmas", "BasicScheduler")];
/// Nodes that begin with empty latents of a size.
const EMPTY_LATENTS: [&str; 2] = ["EmptyLatentImage", "EmptySD3LatentImage"];
/// How many links are followed, one after the other; a graph may be a circle.
const LONGEST_WAY: usize = 64;

/// Inputs, what they mean in stable-diffusion-webui's words, and that they must be there.
const VALUES: [(&[&str], &str); 5] = [
    (&["steps"], "Steps"),
    (&["sampler_name"], "Sampler"),
    (&["scheduler"], "Schedule type"),
    (&["cfg"], "CFG scale"),
    (&["seed", "noise_seed"], "Seed"),
];
/// Inputs by which a run begins in its middle, from other latents than noise, and the value at which it does not.
const WHOLE_RUN: [(&str, &str); 2] = [("denoise", "1"), ("start_at_step", "0")];
/// Inputs that change what is drawn in ways petal has not, and the value at which they do not.
const USUAL: [(&str, &str); 3] = [
    ("add_noise", "enable"),
    ("return_with_leftover_noise", "disable"),
    ("batch_size", "1"), // the noise of a batch is drawn in one piece, and the file does not say which picture it is
];

/// The nodes of a graph.
struct Graph<'a>(&'a Map<String, Value>);

/// One node.
#[derive(Clone, Copy)]
struct Node<'a> {
    id: &'a str,
    class: &'a str,
    inputs: &'a Map<String, Value>,
}

/// What the graph `json` says; `None` if it is no graph.
pub(super) fn read(json: &str) -> Option<Infotext> {
    let graph: Value = serde_json::from_str(json).ok()?;
    let graph = Graph(graph.as_object()?);
    let nodes: Vec<Node> = graph.0.keys().filter_map(|id| graph.node(id)).collect();
    if nodes.is_empty() {
        return None;
    }
    let mut info = Infotext { origin: Origin::ComfyUi, ..Infotext::default() };
    let samplers: Vec<Node> = nodes.into_iter().filter(Node::samples).collect();
    match samplers.as_slice() {
        [sampler] => graph.follow(*sampler, &mut info),
        [] => info.unclear = Some("the graph of nodes has no sampler that petal knows".into()),
        several => {
            let names: Vec<_> = several.iter().map(|node| format!("{} {}", node.class, node.id)).collect();
            info.unclear = Some(format!("the graph of nodes has {} samplers", several.len()));
            info.fields.push(("Sampler nodes".into(), names.join(", ")));
        }
    }
    Some(info)
}

impl Node<'_> {
    /// Whether it samples; nodes of extensions that seem to are counted, and not understood.
    fn samples(&self) -> bool {
        let has = |name: &str| self.inputs.contains_key(name);
        SAMPLERS.contains(&self.class) || (has("sampler_name") && has("steps") && (has("seed") || has("noise_seed")))
    }
}

impl<'a> Graph<'a> {
    fn node(&self, id: &str) -> Option<Node<'a>> {
        let (id, node) = self.0.get_key_value(id)?;
        Some(Node { id, class: node.get("class_type")?.as_str()?, inputs: node.get("inputs")?.as_object()? })
    }

    /// The node that the input `name` is linked to, and which of its outputs.
    fn linked(&self, node: Node<'a>, name: &str) -> Option<(Node<'a>, u64)> {
        let [id, output] = node.inputs.get(name)?.as_array()?.as_slice() else { return None };
        let number = id.as_u64().map(|id| id.to_string());
        Some((self.node(id.as_str().or(number.as_deref())?)?, output.as_u64()?))
    }

    /// The value of the input `name`, or that of a node of one value that it is linked to.
    fn value(&self, node: Node<'a>, name: &str) -> Option<String> {
        scalar(node.inputs.get(name)?).or_else(|| {
            let (source, _) = self.linked(node, name)?;
            let mut values = source.inputs.values().filter(|value| !is_mode(value)).map(scalar);
            values.next().flatten().filter(|_| values.next().is_none())
        })
    }

    /// Writes what the one sampler node leads to into `info`.
    fn follow(&self, sampler: Node<'a>, info: &mut Infotext) {
        if !SAMPLERS.contains(&sampler.class) {
            info.unclear = Some(format!("the sampler node `{}` is not one that petal knows", sampler.class));
            return;
        }
        let mut parts = vec![sampler];
        for (input, class) in PARTS {
            match self.linked(sampler, input) {
                Some((node, _)) if node.class == class => parts.push(node),
                Some((node, _)) => lead_nowhere(info, node.class),
                None => {}
            }
        }
        for (names, field) in VALUES {
            let value = names.iter().flat_map(|name| parts.iter().map(move |node| self.value(*node, name)));
            match value.flatten().next() {
                Some(value) => info.fields.push((field.into(), value)),
                None => lead_nowhere(info, field),
            }
        }
        for part in &parts {
            self.prompts(*part, info);
            self.model(*part, info);
            self.note_unusual(*part, info);
        }
        self.latents(sampler, info);
        if let (Some(end), Some(steps)) = (self.value(sampler, "end_at_step"), info.field("Steps"))
            && end.parse::<u64>().ok() < steps.parse().ok()
        {
            info.lacking.push(format!("end_at_step ({end})"));
        }
        self.clip_skip(&parts, info);
        note_noise(info);
        note_syntax(info);
    }

    fn prompts(&self, part: Node<'a>, info: &mut Infotext) {
        if let Some((node, output)) = self.linked(part, "positive") {
            info.prompt = self.text(node, output, info).unwrap_or_default();
        }
        if let Some((node, output)) = self.linked(part, "negative") {
            info.negative_prompt = self.text(node, output, info).unwrap_or_default();
        }
    }

    /// The text that conditions: of the one encoder at the end of a way through nodes that have one conditioning.
    fn text(&self, mut node: Node<'a>, mut output: u64, info: &mut Infotext) -> Option<String> {
        for _ in 0..LONGEST_WAY {
            if node.class == "CLIPTextEncode" {
                return self.value(node, "text").or_else(|| {
                    lead_nowhere(info, "text");
                    None
                });
            }
            let next = match node.class {
                "ConditioningZeroOut" | "ConditioningCombine" | "ConditioningAverage" | "ConditioningConcat" => None,
                "ControlNetApplyAdvanced" => self.linked(node, if output == 0 { "positive" } else { "negative" }),
                _ => self.linked(node, "conditioning"),
            };
            let Some(next) = next else {
                lead_nowhere(info, node.class);
                return None;
            };
            lack(info, node.class);
            (node, output) = next;
        }
        lead_nowhere(info, "conditioning");
        None
    }

    /// The checkpoint at the end of a way through nodes that change it, each of which is named.
    fn model(&self, part: Node<'a>, info: &mut Infotext) {
        let Some((mut node, _)) = self.linked(part, "model") else { return };
        for _ in 0..LONGEST_WAY {
            if let Some(file) = ["ckpt_name", "unet_name"].iter().find_map(|name| self.value(node, name)) {
                let name = file.rsplit(['/', '\\']).next().unwrap_or(&file);
                let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
                if info.model().is_none() {
                    info.fields.push(("Model".into(), name.into()));
                }
                return;
            }
            let what =
                self.value(node, "lora_name").map_or(node.class.into(), |name| format!("{} ({name})", node.class));
            lack(info, &what);
            match self.linked(node, "model") {
                Some((next, _)) => node = next,
                None => return,
            }
        }
    }

    /// The size of empty latents; other latents are named.
    fn latents(&self, sampler: Node<'a>, info: &mut Infotext) {
        let Some((node, _)) = self.linked(sampler, "latent_image") else { return };
        if !EMPTY_LATENTS.contains(&node.class) {
            lack(info, node.class);
            return;
        }
        match (self.value(node, "width"), self.value(node, "height")) {
            (Some(width), Some(height)) => info.fields.push(("Size".into(), format!("{width}x{height}"))),
            _ => lead_nowhere(info, "width"),
        }
        self.note_unusual(node, info);
    }

    /// The layer at which the text encoder stops, where a node says so.
    fn clip_skip(&self, parts: &[Node<'a>], info: &mut Infotext) {
        let Some((mut node, _)) = parts.iter().find_map(|part| self.linked(*part, "positive")) else { return };
        for _ in 0..LONGEST_WAY {
            if let Some(layer) = self.value(node, "stop_at_clip_layer") {
                info.fields.push(("Clip skip".into(), layer.trim_start_matches('-').into()));
                return;
            }
            let next = ["clip", "conditioning", "positive"].iter().find_map(|name| self.linked(node, name));
            let Some((next, _)) = next else { return };
            node = next;
        }
    }

    /// Names the inputs that ask for what petal cannot do; those of a part of a run make the request impossible.
    fn note_unusual(&self, node: Node<'a>, info: &mut Infotext) {
        let unusual =
            |name, usual| self.value(node, name).filter(|value: &String| value.trim_end_matches(".0") != usual);
        for (name, usual) in WHOLE_RUN {
            if let Some(value) = unusual(name, usual) {
                info.unclear.get_or_insert(undrawable(name, &value));
            }
        }
        for (name, usual) in USUAL {
            if let Some(value) = unusual(name, usual) {
                lack(info, &format!("{name} ({value})"));
            }
        }
    }
}

/// Names the fresh noise of ancestral and SDE samplers, which ComfyUI draws from another generator than the first noise.
fn note_noise(info: &mut Infotext) {
    let sampler = info.field("Sampler").and_then(|name| find_sampler(name).ok());
    if sampler.is_some_and(draws_noise) {
        lack(info, "noise of the steps");
    }
}

/// Whether a sampler draws fresh noise where nothing asks for it: one with an eta unless it is 0, one
/// that churns not.
fn draws_noise(sampler: &Sampler) -> bool {
    sampler.noise != FreshNoise::None && sampler.eta.map_or(!sampler.churns, |eta| eta > 0.0)
}

/// Names what is written in a prompt for ComfyUI alone.
fn note_syntax(info: &mut Infotext) {
    let has = |words: &str| info.prompt.contains(words) || info.negative_prompt.contains(words);
    let (weights, embeddings) = (has("("), has("embedding:"));
    if weights {
        lack(info, "the way ComfyUI weighs words in brackets");
    }
    if embeddings {
        lack(info, "embeddings");
    }
}

/// Names, once, a part of the picture's making.
fn lack(info: &mut Infotext, what: &str) {
    if !info.lacking.iter().any(|known| known == what) {
        info.lacking.push(what.into());
    }
}

/// No request can be made without `what`.
fn lead_nowhere(info: &mut Infotext, what: &str) {
    info.unclear.get_or_insert(format!("the graph of nodes cannot be followed at `{what}`"));
}

/// What primitive nodes say of their value's next change.
fn is_mode(value: &Value) -> bool {
    value.as_str().is_some_and(|text| ["fixed", "randomize", "increment", "decrement"].contains(&text))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The graph that ComfyUI starts with, each node changed by `change`.
    fn graph(change: impl FnOnce(&mut Value)) -> Infotext {
        let mut graph = serde_json::json!({
            "3": {"class_type": "KSampler", "inputs": {
                "seed": 156_680_208_700_286_u64, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
                "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/v1-5.safetensors"}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
            "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}}
        });
        change(&mut graph);
        read(&graph.to_string()).unwrap()
    }

    #[test]
    fn one_sampler_is_followed() {
        let info = graph(|_| {});
        assert_eq!((info.prompt.as_str(), info.negative_prompt.as_str()), ("a bottle", "text, watermark"));
        assert_eq!((info.model(), info.left_out().as_slice()), (Some("v1-5"), [].as_slice()));
        let request = info.request().unwrap();
        assert_eq!((request.seed, request.steps, request.cfg_scale), (156_680_208_700_286, Some(20), Some(8.0)));
        assert_eq!((request.sampler.as_deref(), request.scheduler.as_deref()), (Some("euler"), Some("normal")));
        assert_eq!((request.width, request.height, request.rng), (Some(512), Some(768), None));
    }

    #[test]
    fn what_petal_lacks_is_named() {
        let info = graph(|graph| {
            graph["3"]["inputs"]["model"] = serde_json::json!(["9", 0]);
            graph["9"] = serde_json::json!({"class_type": "LoraLoader",
                "inputs": {"model": ["4", 0], "lora_name": "x.safetensors"}});
            graph["3"]["inputs"]["sampler_name"] = "dpmpp_2m_sde".into();
            graph["5"]["inputs"]["batch_size"] = 4.into();
            graph["6"]["inputs"]["text"] = "a (bottle:1.2)".into();
        });
        let wanted = [
            "LoraLoader (x.safetensors)",
            "batch_size (4)",
            "noise of the steps",
            "the way ComfyUI weighs words in brackets",
        ];
        assert_eq!((info.left_out().as_slice(), info.model()), (wanted.map(String::from).as_slice(), Some("v1-5")));
    }

    #[test]
    fn a_part_of_a_run_is_refused() {
        for (name, value) in [("denoise", "0.5"), ("start_at_step", "3")] {
            let info = graph(|graph| graph["3"]["inputs"][name] = serde_json::from_str(value).unwrap());
            let error = info.request().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}` {value}, which petal does not follow")), "{error}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        let two = graph(|graph| graph["30"] = graph["3"].clone());
        assert!(two.request().unwrap_err().to_string().contains("2 samplers"));
        assert_eq!(two.field("Sampler nodes"), Some("KSampler 3, KSampler 30"));
        let circle = graph(|graph| {
            graph["6"] = serde_json::json!({"class_type": "Loop", "inputs": {"conditioning": ["6", 0]}});
        });
        assert!(circle.request().unwrap_err().to_string().contains("cannot be followed"));
        let combined = graph(|graph| graph["6"]["class_type"] = "ConditioningCombine".into());
        assert!(combined.request().unwrap_err().to_string().contains("`ConditioningCombine`"));
        let other = graph(|graph| graph["3"]["class_type"] = "FancySampler".into());
        assert!(other.request().unwrap_err().to_string().contains("`FancySampler`"));
        assert_eq!(read("{}"), None);
        assert_eq!(read("[1]"), None);
    }

    #[test]
    fn custom_samplers_and_values_of_other_nodes_are_followed() {
        let info = graph(|graph| {
            graph["3"] = serde_json::json!({"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["10", 0],
                "guider": ["11", 0], "sampler": ["12", 0], "sigmas": ["13", 0], "latent_image": ["5", 0]}});
            graph["10"] = serde_json::json!({"class_type": "RandomNoise", "inputs": {"noise_seed": ["14", 0]}});
            graph["11"] = serde_json::json!({"class_type": "CFGGuider", "inputs": {"cfg": 3.5, "model": ["4", 0],
                "positive": ["6", 0], "negative": ["7", 0]}});
            graph["12"] = serde_json::json!({"class_type": "KSamplerSelect", "inputs": {"sampler_name": "heun"}});
            graph["13"] = serde_json::json!({"class_type": "BasicScheduler", "inputs": {"scheduler": "karras",
                "steps": 9, "denoise": 1, "model": ["4", 0]}});
            graph["14"] = serde_json::json!({"class_type": "PrimitiveInt", "inputs": {"value": 5, "mode": "fixed"}});
            graph["15"] = serde_json::json!({"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["4", 1],
                "stop_at_clip_layer": -2}});
            graph["6"]["inputs"]["clip"] = serde_json::json!(["15", 0]);
        });
        let request = info.request().unwrap();
        assert_eq!((request.seed, request.steps, request.cfg_scale, request.clip_skip), (5, Some(9), Some(3.5), 2));
        assert_eq!((request.sampler.as_deref(), request.scheduler.as_deref()), (Some("heun"), Some("karras")));
        assert_eq!((request.prompt.as_str(), info.left_out().len()), ("a bottle", 0));
    }
}
