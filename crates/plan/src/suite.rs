//! The contract suite of [`Cell`]: what every level must do alike. A level's tests call
//! [`run`] with a plan maker for a root that has `/bin/sh`.
