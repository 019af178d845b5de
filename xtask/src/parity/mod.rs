//! `cargo xtask parity`: every verb and flag of the docker and podman clients beside ours, each with the
//! test that covers it or the reason why it is not here. Written from the clients' own help
//! (`lab/parity collect`), from our help (`docs/cli`), from the command lines that tests which passed have
//! used (`GAMUT_WORDS_LOG`) and from `tests/parity/reasons.tsv`.

mod clients;
mod ours;
mod page;
mod reasons;
mod used;

use std::path::Path;

use crate::error::{self, Error};
use crate::junit;
use crate::workspace::Workspace;

const FILE: &str = "docs/parity.md";
const FOLDER: &str = "tests/parity";

/// Writes the page; `words` is the log of a run, `results` that run's JUnit files.
pub(crate) fn write(
    workspace: &Workspace,
    words: &Path,
    results: &[impl AsRef<Path>],
) -> Result<(), Error> {
    let mut passed = Vec::new();
    for path in results.iter().map(AsRef::as_ref) {
        let cases = junit::parse(&error::read(path)?);
        let cases = cases.map_err(|error| Error::Junit(path.to_owned(), error))?;
        passed.extend(cases.into_iter().filter(|case| !case.failed));
    }
    let folder = workspace.root.join(FOLDER);
    let docker = clients::parse(&error::read(&folder.join("docker.tsv"))?);
    let podman = clients::parse(&error::read(&folder.join("podman.tsv"))?);
    let reasons = reasons::parse(&error::read(&folder.join("reasons.tsv"))?)?;
    let ours = ours::read(&workspace.root)?;
    let passed = passed.iter().map(|case| case.name.as_str()).collect();
    let used = used::collect(&error::read(words)?, &ours, &passed);
    let page = page::Page {
        docker,
        podman,
        ours,
        used,
        reasons,
    };
    let (text, sum) = page.render();
    error::write(&workspace.root.join(FILE), &text)?;
    println!("wrote {FILE}: {sum}");
    Ok(())
}

/// One name for each verb: `container run` is `run`, `image ls` is `images`.
pub(crate) fn canonical(verb: &str) -> String {
    let name = match verb {
        "container ls" | "container list" | "container ps" => "ps",
        "image ls" | "image list" => "images",
        "image rm" => "rmi",
        "system info" => "info",
        "system events" => "events",
        "container prune" | "container exists" | "image inspect" | "image prune" | "image diff"
        | "image exists" | "container inspect" => verb,
        _ => {
            let (group, name) = verb.split_once(' ').unwrap_or((verb, ""));
            match (group, name) {
                ("builder", "") => "buildx",
                ("builder", name) => return format!("buildx {name}"),
                ("container", name) if is_of_containers(name) => name,
                ("image", name) if is_of_images(name) => name,
                _ => verb,
            }
        }
    };
    name.to_owned()
}

/// What `container` has beside the verb of the same name without it.
fn is_of_containers(name: &str) -> bool {
    const NAMES: &str = "attach commit cp create diff exec export init kill logs mount pause port \
                         rename restart rm run start stats stop top umount unmount unpause update wait";
    NAMES.split_whitespace().any(|known| known == name)
}

fn is_of_images(name: &str) -> bool {
    const NAMES: &str = "build history import load pull push save search tag untag";
    NAMES.split_whitespace().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_verb_has_one_name() {
        for (verb, name) in [
            ("container run", "run"),
            ("container ls", "ps"),
            ("container prune", "container prune"),
            ("image rm", "rmi"),
            ("image inspect", "image inspect"),
            ("builder build", "buildx build"),
            ("network ls", "network ls"),
            ("run", "run"),
        ] {
            assert_eq!(canonical(verb), name);
        }
    }
}
