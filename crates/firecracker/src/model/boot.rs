//! `/boot-source`.

use serde::{Deserialize, Serialize};

/// The kernel's command line if none is given; the same as Firecracker's.
pub const DEFAULT_COMMAND_LINE: &str = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux \
                                        i8042.nomux i8042.dumbkbd swiotlb=noforce";

/// What is booted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    pub kernel_image_path: String,
    pub initrd_path: Option<String>,
    /// `None`: [`DEFAULT_COMMAND_LINE`].
    pub boot_args: Option<String>,
}
