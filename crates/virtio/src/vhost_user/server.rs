//! The back end: any device of this room, for a machine in another process.
//!
//! A front end stops its queues when the machine pauses, and starts them again where they were; it also does
//! so when the driver resets the device. Which of the two it was shows when they start again: a device that
//! finds everything as it was goes on, with all that it holds for the guest, and otherwise it begins anew.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::message::{
    ConfigRange, Fields, Header, NO_DESCRIPTOR, Request, VringAddresses, VringState,
};
use super::ring::Ring;
use super::socket::{Message, Socket};
use super::table::{Table, Told};
use super::{F_PROTOCOL_FEATURES, P_CONFIG, P_MQ, P_REPLY_ACK, SocketError};
use crate::device::{Activation, Counter, Device, Event, Interest};
use crate::interrupt::Interrupt;
use crate::mmio::F_VERSION_1;

const PROTOCOL_FEATURES: u64 = P_MQ | P_REPLY_ACK | P_CONFIG;
/// How large any queue may be at least: QEMU's virtio-mmio offers its drivers so much, whatever the device
/// would have (`VIRTQUEUE_MAX_SIZE`).
const QUEUE_SIZE: u16 = 1024;
/// How often [`Server::handle`] looks for more, before others have their turn.
const ROUNDS_MAX: usize = 16;

// Marks in the epoll set: what it is, and which.
const SOCKET: u64 = 0;
const QUEUE: u64 = 1 << 32;
const SOURCE: u64 = 2 << 32;

/// Why a device is served no more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the request {0:?} makes no sense")]
    Request(Request),
    #[error("request {0} is unknown")]
    Unknown(u32),
    #[error(transparent)]
    Host(#[from] Errno),
}

/// A device behind a socket.
#[derive(Debug)]
pub struct Server<D: Device + ?Sized> {
    socket: Socket,
    epoll: OwnedFd,
    features: u64,
    protocol_features: u64,
    table: Option<Table>,
    rings: Vec<Ring>,
    /// The device has queues.
    is_active: bool,
    /// All queues are started: it may use them.
    is_running: bool,
    /// Something is not as it was when the device got its queues.
    is_stale: bool,
    device: D,
}

impl<D: Device> Server<D> {
    /// Serves a connected Unix stream socket.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`: eventfds, an epoll set.
    pub fn new(device: D, socket: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &socket, EventData::new_u64(SOCKET), EventFlags::IN)?;
        let sizes = device.queue_sizes().iter();
        let rings: Vec<Ring> = sizes
            .map(|&size| Ring::new(size.max(QUEUE_SIZE)))
            .collect::<Result<_, _>>()?;
        let edge = EventFlags::IN | EventFlags::ET;
        for (index, ring) in rings.iter().enumerate() {
            let mark = EventData::new_u64(QUEUE | index as u64);
            epoll::add(&epoll, &*ring.notifier, mark, edge)?;
        }
        for (index, source) in device.sources().into_iter().enumerate() {
            let flags = match source.interest {
                Interest::Read => EventFlags::IN,
                Interest::Write => EventFlags::OUT,
                Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
            };
            let mark = EventData::new_u64(SOURCE | index as u64);
            epoll::add(&epoll, source.fd, mark, flags | EventFlags::ET)?;
        }
        Ok(Self {
            socket: Socket::new(socket),
            epoll,
            features: 0,
            protocol_features: 0,
            table: None,
            rings,
            is_active: false,
            is_running: false,
            is_stale: false,
            device,
        })
    }

    /// The device, for what the host does with it.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: Device + ?Sized> Server<D> {
    /// Readable when [`Server::handle`] has something to do.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// What the device has done.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        self.device.counters()
    }

    /// Does what there is to do, or as much of it that others are not kept waiting.
    ///
    /// # Errors
    /// The front end is gone, or cannot be understood: the device is served no more.
    pub fn handle(&mut self) -> Result<(), ServeError> {
        const EVENTS: usize = 32;
        let zero = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        for _ in 0..ROUNDS_MAX {
            let mut events = Vec::with_capacity(EVENTS);
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&zero)) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let mark = event.data.u64();
                let index = mark as u32;
                match mark & !u64::from(u32::MAX) {
                    QUEUE => self.tell(Event::Queue(index as u16)),
                    SOURCE => self.tell(Event::Source(index as usize)),
                    _ => self.listen()?,
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        if self.is_running {
            self.device.handle(event);
        }
    }

    /// Takes all messages that are there.
    fn listen(&mut self) -> Result<(), ServeError> {
        while let Some(message) = self.socket.receive()? {
            let number = message.header.request;
            let request = Request::from_number(number).ok_or(ServeError::Unknown(number))?;
            let acknowledge =
                self.protocol_features & P_REPLY_ACK != 0 && message.header.wants_acknowledgement();
            let answer = self.answer(request, message);
            let answer = answer.ok_or(ServeError::Request(request))?;
            let answer = answer.or_else(|| acknowledge.then(|| vec![0; 8]));
            if let Some(payload) = answer {
                let header = Header::reply(request, payload.len());
                self.socket.send(header, &payload, &[])?;
            }
            self.settle();
        }
        Ok(())
    }

    fn offered(&self) -> u64 {
        let device = self.device.features() | self.device.transport_features();
        device | F_VERSION_1 | F_PROTOCOL_FEATURES
    }

    /// Does as it is told. `None`: that makes no sense; inside, the payload of the answer if the request has
    /// one.
    fn answer(&mut self, request: Request, message: Message) -> Option<Option<Vec<u8>>> {
        let Message {
            payload,
            descriptors,
            ..
        } = message;
        let number = |number: u64| Some(Some(number.to_le_bytes().to_vec()));
        match request {
            Request::GetFeatures => return number(self.offered()),
            Request::GetProtocolFeatures => return number(PROTOCOL_FEATURES),
            Request::GetQueueNum => return number(self.rings.len() as u64),
            Request::GetVringBase => return self.stop(&payload).map(Some),
            Request::GetConfig => return self.config(&payload).map(Some),
            Request::SetFeatures => self.set_features(Fields(&payload).u64()?)?,
            Request::SetProtocolFeatures => {
                let accepted = Fields(&payload).u64()?;
                (accepted & !PROTOCOL_FEATURES == 0).then(|| self.protocol_features = accepted)?;
            }
            Request::SetConfig => {
                let (range, bytes) = ConfigRange::parse(&payload)?;
                self.device.write_config(range.offset, bytes);
            }
            Request::SetMemTable => self.set_table(&payload, descriptors)?,
            Request::SetVringNum | Request::SetVringBase | Request::SetVringEnable => {
                self.set_state(request, &payload)?
            }
            Request::SetVringAddr => self.set_addresses(&payload)?,
            Request::SetVringKick | Request::SetVringCall => {
                self.set_descriptor(request, &payload, descriptors)?;
            }
            // Errors are told by nothing but the device's status, and an owner there is one.
            Request::SetVringErr | Request::SetOwner | Request::ResetOwner => {}
        }
        Some(None)
    }

    fn set_features(&mut self, accepted: u64) -> Option<()> {
        let fits = accepted & !self.offered() == 0;
        self.is_stale |= accepted != self.features;
        fits.then(|| self.features = accepted)
    }

    fn set_table(&mut self, payload: &[u8], descriptors: Vec<OwnedFd>) -> Option<()> {
        let told = Told::parse(payload, &descriptors)?;
        if self.table.as_ref().is_none_or(|table| !table.is(&told)) {
            self.table = Some(Table::map(told, descriptors)?);
            self.is_stale = true;
        }
        Some(())
    }

    fn ring(&mut self, index: u32) -> Option<&mut Ring> {
        self.rings.get_mut(index as usize)
    }

    fn set_state(&mut self, request: Request, payload: &[u8]) -> Option<()> {
        let state = VringState::parse(payload)?;
        let ring = self.ring(state.index)?;
        let number = u16::try_from(state.number).ok()?;
        let changes = match request {
            Request::SetVringNum => {
                let before = std::mem::replace(&mut ring.size, number);
                ring.fits(number).then_some(before != number)?
            }
            Request::SetVringBase => std::mem::replace(&mut ring.base, number) != number,
            _ => {
                ring.is_enabled = number != 0;
                false
            }
        };
        self.is_stale |= changes;
        Some(())
    }

    fn set_addresses(&mut self, payload: &[u8]) -> Option<()> {
        let (index, addresses) = VringAddresses::parse(payload)?;
        let ring = self.ring(index)?;
        let before = std::mem::replace(&mut ring.addresses, addresses);
        self.is_stale |= before != addresses;
        Some(())
    }

    /// A queue's kick or call.
    fn set_descriptor(
        &mut self,
        request: Request,
        payload: &[u8],
        mut descriptors: Vec<OwnedFd>,
    ) -> Option<()> {
        let which = Fields(payload).u64()?;
        let index = which as u8;
        let descriptor = descriptors.pop();
        if descriptor.is_some() == (which & NO_DESCRIPTOR != 0) || !descriptors.is_empty() {
            return None;
        }
        let ring = self.rings.get_mut(usize::from(index))?;
        if request == Request::SetVringCall {
            ring.interrupt.set_caller(descriptor);
            // What was told by the one before may have gone nowhere: a driver that hears for nothing looks in vain.
            ring.interrupt.used_buffer();
            return Some(());
        }
        // Without one the queue would have to be looked at all the time.
        let kick = descriptor?;
        let mark = EventData::new_u64(QUEUE | u64::from(index));
        epoll::add(&self.epoll, &kick, mark, EventFlags::IN | EventFlags::ET).ok()?;
        if let Some(before) = ring.kick.replace(kick) {
            // The front end has it too, so that closing it would not take it out of the set.
            let _ = epoll::delete(&self.epoll, before);
        }
        Some(())
    }

    /// Stops a queue; says where it is.
    fn stop(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let VringState { index, .. } = VringState::parse(payload)?;
        let ring = self.rings.get_mut(index as usize)?;
        if let Some(kick) = ring.kick.take() {
            let _ = epoll::delete(&self.epoll, kick);
        }
        ring.is_enabled = false;
        // What was taken has been answered, or is forgotten if the driver begins anew.
        if self.is_active
            && let Some(served) = self.table.as_ref().and_then(|table| ring.served(table))
        {
            ring.base = served;
        }
        let number = ring.base.into();
        Some(VringState { index, number }.to_bytes().to_vec())
    }

    fn config(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let (range, _) = ConfigRange::parse(payload)?;
        let mut answer = payload.to_vec();
        let bytes = &mut answer[ConfigRange::BYTES..];
        self.device.read_config(range.offset, bytes);
        Some(answer)
    }

    /// Lets the device run if the queues that are started are all enabled.
    fn settle(&mut self) {
        let mut started = self.rings.iter().filter(|ring| ring.kick.is_some());
        let is_started = self.rings.iter().any(|ring| ring.kick.is_some());
        let runs = is_started && started.all(|ring| ring.is_enabled);
        let goes_on = runs && self.is_active && !self.is_stale;
        if self.is_running && goes_on {
            return;
        }
        self.is_running = goes_on || runs && self.activate();
        if self.is_running {
            // Whatever happened while it did not run.
            for index in 0..self.device.sources().len() {
                self.device.handle(Event::Source(index));
            }
            for index in 0..self.rings.len() {
                self.device.handle(Event::Queue(index as u16));
            }
        }
    }

    /// Gives the device its queues. `false`: there are not all that it needs yet.
    fn activate(&mut self) -> bool {
        let Some(table) = &self.table else {
            return false;
        };
        if self.is_active {
            self.device.reset();
        }
        if self.is_running {
            for ring in &mut self.rings {
                ring.base = ring.served(table).unwrap_or(ring.base);
            }
        }
        let queues = self.rings.iter().map(|ring| {
            ring.kick.as_ref()?;
            ring.queue(self.features, table)
        });
        let activation = Activation {
            features: self.features & !F_PROTOCOL_FEATURES,
            queues: queues.collect(),
            memory: table.memory.clone(),
            interrupt: Interrupt::called(),
        };
        self.is_active = self.device.activate(activation).is_ok();
        self.is_stale = false;
        if !self.is_active {
            self.device.reset();
        }
        self.is_active
    }
}
