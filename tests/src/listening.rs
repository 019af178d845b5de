//! A listening socket that ends with its owner: the tests of one process share its table of descriptors.

use rustix::net::Shutdown;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

/// The thread that accepts lives as long as this value.
#[derive(Debug)]
pub struct Listening {
    listener: Arc<TcpListener>,
}

impl Listening {
    /// Hands each connection to `each`, in a thread of the calling thread's network namespace.
    pub fn start(listener: TcpListener, mut each: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                each(stream);
            }
        });
        Self { listener }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        wake(&*self.listener);
    }
}

/// Ends the wait of a thread that accepts or receives on `socket` (shutdown(2) does so on Linux, also where
/// it answers ENOTCONN).
pub fn wake(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}
