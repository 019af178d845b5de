//! `gamut-agent`: `/init` of a virtual machine's initramfs.
#![forbid(unsafe_code)]

fn main() {
    if rustix::process::getpid().is_init() {
        gamut_agent::init();
    } else if let [_, task] = std::env::args().collect::<Vec<_>>().as_slice() {
        std::process::exit(i32::from(!gamut_agent::files::run(task)));
    } else {
        eprintln!("gamut-agent is the first process of a virtual machine, and runs nowhere else");
        std::process::exit(2);
    }
}
