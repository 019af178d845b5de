//! The architectures that a filter can tell apart, and the kernel's version as profiles compare it.

use std::fmt;
use std::str::FromStr;

use super::SeccompError;

/// A system call interface that one machine offers: its own or a compatibility one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86 (`int 0x80`, `sysenter`).
    X86,
    /// 32-bit pointers on 64-bit x86: the numbers of [`Arch::X86_64`] with bit 30 set.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm, EABI.
    Arm,
}

/// `__X32_SYSCALL_BIT` of `arch/x86/include/uapi/asm/unistd.h`.
pub const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// Every architecture that there are call numbers for.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The one this program was compiled for; `None` on a machine that [`super`] has no table for.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "x86") {
            Some(Self::X86)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "arm") {
            Some(Self::Arm)
        } else {
            None
        }
    }

    /// `AUDIT_ARCH_*` of `include/uapi/linux/audit.h`: what the kernel puts into
    /// `seccomp_data.arch`.
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// What is added to a call's number in `seccomp_data.nr`.
    #[must_use]
    pub const fn base(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            _ => 0,
        }
    }

    /// Whether arguments have 32 bits, so that their upper halves are always zero.
    #[must_use]
    pub const fn has_narrow_arguments(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// libseccomp's name, as in the OCI runtime spec.
    #[must_use]
    pub const fn scmp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The architecture with this libseccomp name, if there is a table for it.
    #[must_use]
    pub fn from_scmp_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.scmp_name() == name)
    }

    /// The name that Docker's profiles use in `includes` and `excludes`.
    #[must_use]
    pub const fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The compatibility interfaces that Docker's default filter covers beside this one.
    #[must_use]
    pub const fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm => &[],
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::X86 => "i386",
            Self::X32 => "x32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
        })
    }
}

/// The first two numbers of a kernel release; profiles compare no more than these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// 6 in `6.18.44-generic`.
    pub version: u32,
    /// 18 in `6.18.44-generic`.
    pub patchlevel: u32,
}

impl KernelVersion {
    /// From what `uname -r` prints: whatever follows the second number is ignored.
    #[must_use]
    pub fn from_release(release: &str) -> Option<Self> {
        let (version, rest) = release.split_once('.')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        Some(Self {
            version: version.parse().ok()?,
            patchlevel: rest[..digits].parse().ok()?,
        })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.version, self.patchlevel)
    }
}

impl FromStr for KernelVersion {
    type Err = SeccompError;

    /// As a profile's `minKernel` is written: two numbers and nothing else, not both zero.
    fn from_str(text: &str) -> Result<Self, SeccompError> {
        let wrong = || SeccompError::KernelVersion(text.to_owned());
        let (version, patchlevel) = text.split_once('.').ok_or_else(wrong)?;
        let parsed = Self {
            version: version.parse().map_err(|_| wrong())?,
            patchlevel: patchlevel.parse().map_err(|_| wrong())?,
        };
        if parsed.version == 0 && parsed.patchlevel == 0 {
            return Err(wrong());
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_versions_compare() {
        let at = |version, patchlevel| KernelVersion {
            version,
            patchlevel,
        };
        for release in ["6.18.44-generic", "6.18-rc5", "6.18", "6.18+"] {
            assert_eq!(KernelVersion::from_release(release), Some(at(6, 18)));
        }
        for release in ["", "6", "x.y", "6.", "6.x"] {
            assert_eq!(KernelVersion::from_release(release), None, "{release}");
        }
        assert!(at(4, 8) < at(4, 18) && at(4, 18) < at(5, 0));
        assert_eq!("4.8".parse::<KernelVersion>().unwrap(), at(4, 8));
        for text in ["", "4", "4.8.1", "0.0", "a.b"] {
            assert!(text.parse::<KernelVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_lead_back() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_scmp_name(arch.scmp_name()), Some(arch));
        }
        assert_eq!(Arch::from_scmp_name("SCMP_ARCH_MIPS"), None);
    }
}
