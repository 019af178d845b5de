//! Where the binary begins (see `gamut_sys::early`), and what stands side by side in it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=first.ld");
    println!("cargo::rerun-if-env-changed=GAMUT_SYMBOLS");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let target = |what: &str| variable(&format!("CARGO_CFG_TARGET_{what}"));
    if target("ARCH") != "x86_64" || target("ENV") != "gnu" {
        return;
    }
    println!("cargo::rustc-link-arg-bin=gamut=-Wl,-e,gamut_start");
    if variable("PROFILE") != "release" {
        return;
    }
    // Made by `benches/order`, which wants to see symbols: a tenth of a start's time.
    let here = variable("CARGO_MANIFEST_DIR");
    println!("cargo::rustc-link-arg-bin=gamut=-Wl,-T,{here}/first.ld");
    if variable("GAMUT_SYMBOLS").is_empty() {
        println!("cargo::rustc-link-arg-bin=gamut=-Wl,--strip-all");
    }
}
