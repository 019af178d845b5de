//! `gamut image tree`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::human;
use gamut_engine::history::LayerOf;
use gamut_spec::reference::Reference;

/// Show an image's layers, and which images end with them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub image: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let (image, layers) = engine.layers_of(&args.image).map_err(Failure::engine)?;
    let size = human::decimal_size(image.size_bytes);
    let view = engine.view_of(image).map_err(Failure::engine)?;
    let mut text = format!(
        "Image ID: {}\nTags:     [{}]\nSize:     {size}\nImage Layers\n",
        view.image.id.short(),
        familiar(&view.tags),
    );
    let count = layers.len();
    for (index, layer) in layers.iter().enumerate() {
        text.push_str(&line(layer, index + 1 == count));
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn line(layer: &LayerOf, is_last: bool) -> String {
    let branch = if is_last { "└──" } else { "├──" };
    let id = layer.diff_id.short();
    let size = human::decimal_size(layer.size_bytes);
    let top_of = match layer.top_of.as_slice() {
        [] => String::new(),
        names => format!(" Top Layer of: [{}]", familiar(names)),
    };
    format!("{branch} ID: {id} Size: {size}{top_of}\n")
}

fn familiar(names: &[String]) -> String {
    let familiar = |name: &String| match name.parse::<Reference>() {
        Ok(reference) => reference.familiar(),
        Err(_) => name.clone(),
    };
    names.iter().map(familiar).collect::<Vec<_>>().join(" ")
}
