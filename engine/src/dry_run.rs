//! What would a request do? Answered from a model's small files, without ONNX Runtime and without its graphs.
use crate::{
    Catalogue, LoadOptions, Request, Result,
    models::Files,
    plan::Plan,
    prompt::{Emphasis, Part, Prompt, PromptToken, T5Tokenizer, Texts, check_chunks, chunks, find_emphasis, t5_tokens},
    survey::survey,
};

/// Pixels to a latent where the model's files do not say.
const USUAL_DOWNSAMPLING: usize = 8;

/// The noise levels that `request` goes through with a model, highest first, the last included.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) if a value is out of range or does not suit the model;
/// [`Error::Model`](crate::Error::Model) if the model's files cannot be used.
pub fn noise_levels(options: &LoadOptions, request: &Request) -> Result<Vec<f64>> {
    request.check()?;
    let files = files(options)?;
    let survey = survey(&files, options.elsewhere())?;
    let config = survey.config(&files)?;
    let side = survey.family.usual.side;
    let (height, width) = config.sample_size.unwrap_or((side, side));
    let pixels = config.vae.downsampling().unwrap_or(USUAL_DOWNSAMPLING);
    let latents = |length: Option<u32>, usual: u32| length.map_or(usual as usize, |length| length as usize / pixels);
    let area = latents(request.height, height) * latents(request.width, width);
    let strength = request.strength.filter(|strength| *strength > 0.0);
    Ok(Plan::new(request, &config, area, strength)?.schedule.sigmas().to_vec())
}

/// The files of the model that `options` name.
fn files(options: &LoadOptions) -> Result<Files> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
    Ok(catalogue.open(options.model.as_deref())?.2)
}

/// How `prompt` is read over `steps` steps by a model's tokenizer: its parts (between `AND`s), the texts of each part
/// along the run, and the chunks of each text.
///
/// # Errors
/// As [`noise_levels`], and [`Error::Request`](crate::Error::Request) if the prompt is longer than one that is drawn:
/// see [`Request::prompt`].
pub fn tokens(options: &LoadOptions, prompt: &str, emphasis: &str, steps: u32) -> Result<Vec<TokenizedPart>> {
    let request =
        Request { prompt: prompt.into(), steps: Some(steps), emphasis: Some(emphasis.into()), ..Request::default() };
    request.check()?;
    let survey = survey(&files(options)?, options.elsewhere())?;
    let (tokenizer, t5) = (survey.first_tokenizer()?, survey.t5_tokenizer()?);
    let emphasis = find_emphasis(emphasis)?;
    let prompt = Prompt::positive(prompt, steps as usize, emphasis);
    let texts = prompt.texts()?;
    check_chunks(&tokenizer, texts.iter().flat_map(|texts| &texts.distinct), emphasis)?;
    let read = |(part, texts): (&Part, Texts)| {
        let Texts { distinct, which, .. } = texts;
        let mut read = Vec::new();
        for text in distinct {
            let chunks = chunks(&tokenizer, &text, emphasis)?;
            let chunks = chunks.iter().map(|chunk| chunk.tokens(&tokenizer)).collect();
            let t5 = t5.as_ref().map(|tokenizer| shown(tokenizer, &text, emphasis)).transpose()?;
            read.push(TokenizedText { steps: Vec::new(), text, chunks, t5 });
        }
        for step in 1..=steps as usize {
            let ranges = &mut read[which[part.schedule.index_at(step - 1)]].steps;
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == step => *last = step,
                _ => ranges.push((step, step)),
            }
        }
        read.retain(|text| !text.steps.is_empty());
        Ok(TokenizedPart { weight: part.weight, texts: read })
    };
    prompt.parts.iter().zip(texts).map(read).collect()
}

/// One of the prompts between `AND`s.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizedPart {
    /// How strongly its guidance counts.
    pub weight: f64,
    /// Its texts, in the order in which they come first.
    pub texts: Vec<TokenizedText>,
}

/// The text of a prompt at some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizedText {
    /// The steps at which it holds, as first and last, counted from 1.
    pub steps: Vec<(usize, usize)>,
    /// The text.
    pub text: String,
    /// Its tokens, by the chunks that the text encoder takes at a time; without start, end and padding.
    pub chunks: Vec<Vec<PromptToken>>,
    /// Its tokens as T5 is given them, all at once, for the models that have it.
    pub t5: Option<Vec<PromptToken>>,
}

/// The tokens of a text as T5 is given them.
fn shown(tokenizer: &T5Tokenizer, text: &str, emphasis: Emphasis) -> Result<Vec<PromptToken>> {
    let tokens = t5_tokens(tokenizer, text, emphasis)?.into_iter();
    Ok(tokens.map(|(id, weight)| PromptToken { id, text: tokenizer.text_of(id), weight }).collect())
}
