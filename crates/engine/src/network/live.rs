//! What a keeper is told of its workload's networks while it runs.

use gamut_plan::wire::{Joining, Request};

use crate::client::{Client, ClientError};

impl Client {
    /// Has the workload join a network.
    ///
    /// # Errors
    /// What failed; it is not on it then.
    pub fn join(&mut self, joining: Joining) -> Result<(), ClientError> {
        self.done(&Request::Join(Box::new(joining)))
    }

    /// Tells that the container has another name.
    ///
    /// # Errors
    /// What failed.
    pub fn rename(&mut self, name: &str) -> Result<(), ClientError> {
        let name = name.to_owned();
        self.done(&Request::Rename { name })
    }

    /// Has the workload leave a network.
    ///
    /// # Errors
    /// What failed.
    pub fn leave(&mut self, network_id: &str) -> Result<(), ClientError> {
        let network_id = network_id.to_owned();
        self.done(&Request::Leave { network_id })
    }
}
