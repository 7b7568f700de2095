//! `petal redraw`: a picture again, from what its file says.
use crate::{
    args::Redraw,
    draw, input,
    report::{self, Failure},
};
use petal_engine::{Catalogue, Infotext, Latents, LoadOptions, Request, read_grid, read_infotext};
use std::path::Path;

pub(crate) fn run(arguments: &Redraw) -> Result<(), Failure> {
    let info = read(&arguments.image)?;
    let mut request = request(&info, arguments.latents.as_deref())?;
    arguments.changes.apply(&mut request);
    input::read_pictures(&mut request, (arguments.prompt.as_deref() == Some("-")).then_some("the prompt"))?;
    if let Some(prompt) = &arguments.prompt {
        request.prompt = draw::read_prompt(prompt)?;
    }
    let dropped = arguments.changes.take_out_lacking(&mut request);
    let options = options(&info, arguments.changes.options(arguments.load.options()), &arguments.image)?;
    tell_left_out(&info, arguments.results.quiet);
    if !arguments.results.quiet && !dropped.is_empty() {
        report::note(&format!("left out of the file's values, which the new choice has not: {}", dropped.join(", ")));
    }
    draw::draw_all(&request, &arguments.results, &options)
}

/// What the file says of itself.
pub(crate) fn read(image: &Path) -> Result<Infotext, Failure> {
    if let Some(info) = read_infotext(image)? {
        return Ok(info);
    }
    Err(match read_grid(image)? {
        Some(_) => Failure::usage(
            format!("`{}` is a grid of pictures, not one picture", image.display()),
            "use the file of a cell; `petal grid` keeps them with `--keep-cells`",
        ),
        None => Failure::usage(
            format!("`{}` does not say what made it", image.display()),
            "give a file that petal, stable-diffusion-webui, ComfyUI or InvokeAI wrote",
        ),
    })
}

/// The request of a file, with the noise in the file `latents` if the picture was drawn from one.
pub(crate) fn request(info: &Infotext, latents: Option<&Path>) -> Result<Request, Failure> {
    Ok(match latents.map(Latents::read).transpose()? {
        Some(noise) => info.request_from(noise)?,
        None => info.request()?,
    })
}

/// The options with the model that they name, or else the file's, if the catalogue has it.
pub(crate) fn options(info: &Infotext, options: LoadOptions, image: &Path) -> Result<LoadOptions, Failure> {
    for (name, flag, given) in
        [("VAE", "--vae", &options.vae), ("Text encoder", "--text-encoder", &options.text_encoder)]
    {
        if let (Some(folder), None) = (info.field(name), given) {
            report::note(&format!("the picture was drawn with a part from `{folder}`: name it with `{flag} DIR`"));
        }
    }
    if options.model.is_some() {
        return Ok(options);
    }
    let Some(name) = info.model() else {
        let what = format!("`{}` does not say its model", image.display());
        return Err(Failure::usage(what, "name a model with `-m`"));
    };
    let catalogue = Catalogue::load(options.catalogue.as_deref())?;
    if catalogue.models.iter().any(|model| model.name == name) {
        return Ok(LoadOptions { model: Some(name.into()), ..options });
    }
    let what = format!("`{}` was drawn by the model `{name}`, which is not in the catalogue", image.display());
    Err(Failure::usage(what, "name its folder, or another model, with `-m`"))
}

/// Says what of the picture's making is not carried over.
pub(crate) fn tell_left_out(info: &Infotext, quiet: bool) {
    let names = info.left_out();
    if !quiet && !names.is_empty() {
        report::note(&format!("not carried over from {}: {}", info.origin, names.join(", ")));
    }
}
