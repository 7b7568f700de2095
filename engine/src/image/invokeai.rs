//! What does a picture of InvokeAI say of itself? Its file holds JSON, or in version 1 a command.
use super::{Infotext, Origin};
use serde_json::{Map, Value};

/// Keys of version 3 and later that are understood, and what they are in stable-diffusion-webui's words.
const KEYS: [(&str, &str); 5] = [
    ("steps", "Steps"),
    ("scheduler", "Sampler"),
    ("cfg_scale", "CFG scale"),
    ("seed", "Seed"),
    ("cfg_rescale_multiplier", "CFG Rescale φ"),
];
/// Keys that change nothing, or are read elsewhere.
const REMARKS: [&str; 14] = [
    "app_version",
    "positive_prompt",
    "negative_prompt",
    "width",
    "height",
    "model",
    "clip_skip",
    "rand_device",
    "generation_mode",
    "positive_style_prompt", // of SDXL, there even when it is not used
    "negative_style_prompt",
    "canvas_v2_metadata",
    "ref_images",
    "board_id",
];
/// The same for version 2, whose values stand below `image`.
const OLD_KEYS: [(&str, &str); 4] =
    [("steps", "Steps"), ("sampler", "Sampler"), ("cfg_scale", "CFG scale"), ("seed", "Seed")];
const OLD_REMARKS: [&str; 4] = ["prompt", "width", "height", "type"];

/// What the `invokeai_metadata` of version 3 and later says.
pub(super) fn read(json: &str) -> Option<Infotext> {
    let whole: Value = serde_json::from_str(json).ok()?;
    let said = whole.as_object().filter(|said| said.contains_key("app_version") || said.contains_key("seed"))?;
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut info = started(text("positive_prompt"), text("negative_prompt"));
    add_pairs(&mut info, said, &KEYS, &REMARKS);
    let mut add = |name: &str, value: Option<String>| info.fields.extend(value.map(|value| (name.into(), value)));
    // counted from 0 there
    let skip = said.get("clip_skip").and_then(Value::as_u64).filter(|skip| *skip > 0);
    add("Clip skip", skip.and_then(|skip| skip.checked_add(1)).map(|skip| skip.to_string()));
    let model = said.get("model").and_then(|model| model.get("name").or(model.get("model_name")).or(Some(model)));
    add("Model", model.and_then(Value::as_str).map(Into::into));
    add("Version", said.get("app_version").and_then(Value::as_str).map(|version| format!("InvokeAI {version}")));
    if ["cuda", "mps"].contains(&text("rand_device")) {
        info.lacking.push(format!("rand_device ({})", text("rand_device")));
    }
    let mode = text("generation_mode");
    if !mode.is_empty() && !mode.ends_with("txt2img") {
        info.lacking.push(format!("generation_mode ({mode})"));
    }
    Some(info)
}

/// What the `sd-metadata` of version 2 says.
pub(super) fn read_version_2(json: &str) -> Option<Infotext> {
    let whole: Value = serde_json::from_str(json).ok()?;
    let said = whole.get("image")?.as_object()?;
    let prompt = match said.get("prompt")? {
        Value::String(prompt) => prompt.clone(),
        Value::Array(parts) => match parts.as_slice() {
            [part] => part.get("prompt")?.as_str()?.to_owned(),
            _ => return Some(Infotext { unclear: Some("the picture has several prompts".into()), ..started("", "") }),
        },
        _ => return None,
    };
    let (positive, negative) = split_brackets(&prompt);
    let mut info = started(&positive, &negative);
    add_pairs(&mut info, said, &OLD_KEYS, &OLD_REMARKS);
    let model = whole.get("model_weights").and_then(Value::as_str);
    info.fields.extend(model.map(|model| ("Model".to_owned(), model.to_owned())));
    match said.get("type").and_then(Value::as_str) {
        Some("txt2img") | None => {}
        Some(other) => info.lacking.push(format!("type ({other})")),
    }
    Some(info)
}

/// What the `Dream` command of version 1 says: `"a dog" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms`.
pub(super) fn read_dream(command: &str) -> Option<Infotext> {
    let (prompt, flags) = command.trim().strip_prefix('"')?.rsplit_once('"')?;
    let (positive, negative) = split_brackets(prompt);
    let mut info = started(&positive, &negative);
    let mut words = flags.split_whitespace().peekable();
    let (mut width, mut height) = (None, None);
    while let Some(flag) = words.next() {
        let value = words.next_if(|word| !word.starts_with('-') || word.parse::<f64>().is_ok()).unwrap_or_default();
        // flags may touch their values, as in -s50
        let (flag, value) = match flag.split_at_checked(2) {
            Some((flag, touching)) if value.is_empty() && !flag.starts_with("--") => (flag, touching),
            _ => (flag, value),
        };
        let name = match flag {
            "-s" => "Steps",
            "-S" => "Seed",
            "-C" => "CFG scale",
            "-A" => "Sampler",
            "-W" => {
                width = Some(value);
                continue;
            }
            "-H" => {
                height = Some(value);
                continue;
            }
            _ => {
                info.lacking.push(format!("{flag} {value}").trim_end().to_owned());
                continue;
            }
        };
        info.fields.push((name.into(), value.into()));
    }
    if let (Some(width), Some(height)) = (width, height) {
        info.fields.push(("Size".into(), format!("{width}x{height}")));
    }
    Some(info)
}

/// A picture with these prompts; what of them only InvokeAI reads is named.
fn started(positive: &str, negative: &str) -> Infotext {
    let mut info = Infotext {
        origin: Origin::InvokeAi,
        prompt: positive.into(),
        negative_prompt: negative.into(),
        ..Infotext::default()
    };
    if [positive, negative].iter().any(|prompt| ["(", "++", "--"].iter().any(|sign| prompt.contains(sign))) {
        info.lacking.push("the way InvokeAI weighs words".into());
    }
    info
}

/// Adds the pairs of `keys`, and names whatever else says something.
fn add_pairs(info: &mut Infotext, said: &Map<String, Value>, keys: &[(&str, &str)], remarks: &[&str]) {
    for (key, value) in said {
        let text = value.as_str().map_or_else(|| value.to_string(), Into::into);
        let empty = matches!(text.as_str(), "" | "null" | "[]" | "{}" | "false" | "0" | "0.0");
        match keys.iter().find(|(name, _)| name == key) {
            Some((_, "Sampler")) => add_sampler(info, &text),
            Some((_, name)) => info.fields.push(((*name).into(), text)),
            None if empty || remarks.contains(&key.as_str()) => {}
            None => info.lacking.push(key.clone()),
        }
    }
    if let (Some(width), Some(height)) = (said.get("width"), said.get("height")) {
        info.fields.push(("Size".into(), format!("{width}x{height}")));
    }
}

/// Names that end in `_k` mean Karras' noise levels.
fn add_sampler(info: &mut Infotext, name: &str) {
    let karras = name.strip_suffix("_k");
    info.fields.push(("Sampler".into(), karras.unwrap_or(name).into()));
    info.fields.extend(karras.map(|_| ("Schedule type".into(), "Karras".into())));
}

/// The text outside square brackets, and that inside, which was the negative prompt before version 3.
fn split_brackets(prompt: &str) -> (String, String) {
    let (mut positive, mut negative) = (String::new(), Vec::new());
    let mut rest = prompt;
    while let Some((before, (inside, after))) =
        rest.split_once('[').and_then(|(before, more)| Some((before, more.split_once(']')?)))
    {
        positive.push_str(before);
        negative.push(inside.trim());
        rest = after;
    }
    positive.push_str(rest);
    (positive.trim().into(), negative.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_form_is_read() {
        let info = read(
            r#"{"app_version": "5.4.2", "generation_mode": "txt2img", "positive_prompt": "a dog", "negative_prompt": "cat",
                "width": 512, "height": 640, "seed": 42, "rand_device": "cpu", "cfg_scale": 7.5, "steps": 30,
                "cfg_rescale_multiplier": 0.5, "scheduler": "dpmpp_2m_k", "clip_skip": 1, "loras": [], "vae": null,
                "model": {"key": "k", "hash": "h", "name": "stable-diffusion-v1-5", "base": "sd-1"},
                "controlnets": [{"a": 1}]}"#,
        )
        .unwrap();
        let request = info.request().unwrap();
        assert_eq!((request.prompt.as_str(), request.negative_prompt.as_str()), ("a dog", "cat"));
        assert_eq!((request.sampler.as_deref(), request.scheduler.as_deref()), (Some("dpmpp_2m"), Some("karras")));
        assert_eq!((request.seed, request.steps, request.cfg_scale), (42, Some(30), Some(7.5)));
        assert_eq!((request.width, request.height, request.clip_skip), (Some(512), Some(640), 2));
        assert_eq!((request.rng, request.cfg_rescale.to_bits()), (None, 0.5_f64.to_bits()));
        assert_eq!((info.model(), info.left_out()), (Some("stable-diffusion-v1-5"), vec!["controlnets".to_owned()]));
    }

    #[test]
    fn older_forms_are_read() {
        let second = read_version_2(
            r#"{"model": "stable diffusion", "model_weights": "sd-1.5", "app_version": "2.3", "image": {
                "prompt": [{"prompt": "a dog [cat] runs", "weight": 1.0}], "steps": 50, "cfg_scale": 7.5, "height": 512,
                "width": 512, "seed": 42, "seamless": false, "type": "txt2img", "sampler": "k_lms", "perlin": 0.5}}"#,
        )
        .unwrap();
        let first = read_dream(r#""a dog [cat] runs" -s 50 -S 42 -W 512 -H512 -C 7.5 -A k_lms -G 0.8"#).unwrap();
        for (info, lacking) in [(second, "perlin"), (first, "-G 0.8")] {
            let request = info.request().unwrap();
            assert_eq!((request.prompt.as_str(), request.negative_prompt.as_str()), ("a dog  runs", "cat"));
            assert_eq!((request.steps, request.seed, request.sampler.as_deref()), (Some(50), 42, Some("lms")));
            assert_eq!((request.width, request.height, info.left_out()), (Some(512), Some(512), vec![lacking.into()]));
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "[]", "a dog", "\"", "{\"image\": 3}"] {
            assert_eq!((read(text), read_version_2(text), read_dream(text)), (None, None, None), "{text}");
        }
    }
}
