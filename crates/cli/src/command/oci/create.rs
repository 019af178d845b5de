//! `gamut oci create`.

use gamut_container::oci::Console;

use super::{BundleArgs, Context, Done, SUCCESS};

/// Make a container: all of it but the start of its program
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,

    /// A name that no other container here has
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Done {
    let options = args.bundle.options(Console::None, context);
    let created = context.runtime.create(&args.id, &options)?;
    context
        .log
        .debug(&format!("created, process {}", created.pid));
    context.log.warn(&created.warnings);
    SUCCESS
}
