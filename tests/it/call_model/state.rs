//! What the model knows of one call: what is stored, what the process remembers, and what six clients show.

use samvad::models::{CallSide, CallStatus, EndReason};

/// Sockets a side may have at once.
pub const SOCKETS: usize = 3;

/// What a client shows, as far as this call is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shows {
    /// Nothing: it is not connected.
    #[default]
    Away,
    /// Connected. A caller's client waits for the answer.
    Idle,
    /// It rings.
    Ringing,
    /// It is in the call.
    Talking,
    /// It has closed the call.
    Over,
}

/// One client of a side; a client that connects again is a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// What it shows.
    pub shows: Shows,
    /// Whether the server takes it for the one that answered.
    pub answered: bool,
}

impl Client {
    pub fn is_here(self) -> bool {
        self.shows != Shows::Away
    }
}

/// Names a socket. Of the callee's, 0 and 1 are of one browser page; the third is another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    pub side: CallSide,
    pub number: usize,
}

impl Socket {
    /// All of them, the caller's first.
    pub fn all() -> impl Iterator<Item = Self> {
        [CallSide::Caller, CallSide::Callee].into_iter().flat_map(|side| (0..SOCKETS).map(move |number| Self { side, number }))
    }

    /// Whether the server cannot tell the two from two sockets of one browser page.
    pub fn shares_page_with(self, other: Self) -> bool {
        self.side == CallSide::Callee && other.side == CallSide::Callee && self.number < 2 && other.number < 2
    }
}

/// A call, everything about it that decides what may happen next, and what the claims have to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Stored: where it stands.
    pub status: CallStatus,
    /// Stored: reason and detail of the end.
    pub end: Option<(EndReason, &'static str)>,
    /// Stored: whether it was ever answered.
    pub was_answered: bool,
    /// Stored: seconds.
    pub duration: u32,
    /// Stored: whether the caller, the callee are still to be told, and the log is still to be written.
    pub notices: [bool; 3],
    /// Stored: call logs in the conversation.
    pub logs: u8,
    /// Whether a process is running and knows of the call. What follows is lost with it.
    pub up: bool,
    /// Whether the call was begun on a socket of the caller's.
    pub caller_had_socket: bool,
    /// Whether a socket of the caller was handed the answer.
    pub accept_heard: bool,
    /// Which sides have said that media flows.
    pub said_connected: [bool; 2],
    /// By side, caller first.
    pub clients: [[Client; SOCKETS]; 2],
    /// Claims: how often an answer was applied.
    pub answers: u8,
    /// Claims: which sides the contract owes the news of the end.
    pub owed: [bool; 2],
    /// Claims: whether the contract owes the caller the news of the answer.
    pub accept_owed: bool,
}

/// The place of a side in arrays.
pub fn of(side: CallSide) -> usize {
    usize::from(side == CallSide::Callee)
}

impl State {
    /// A call just begun: by the caller's first socket or by REST, with these sockets of the callee.
    pub fn begun(by_socket: bool, callees: [bool; SOCKETS]) -> Self {
        let mut clients = [[Client::default(); SOCKETS]; 2];
        if by_socket {
            clients[0][0].shows = Shows::Idle;
        }
        for (client, here) in clients[1].iter_mut().zip(callees) {
            client.shows = if here { Shows::Ringing } else { Shows::Away };
        }
        Self {
            status: if callees.contains(&true) { CallStatus::Ringing } else { CallStatus::Initiated },
            end: None,
            was_answered: false,
            duration: 0,
            notices: [false; 3],
            logs: 0,
            up: true,
            caller_had_socket: by_socket,
            accept_heard: false,
            said_connected: [false; 2],
            clients,
            answers: 0,
            owed: [false; 2],
            accept_owed: false,
        }
    }

    /// Every way a call may begin.
    pub fn beginnings() -> impl Iterator<Item = Self> {
        (0..16).map(|bits| Self::begun(bits & 8 != 0, [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0]))
    }

    pub fn client(&self, socket: Socket) -> Client {
        self.clients[of(socket.side)][socket.number]
    }

    pub fn client_mut(&mut self, socket: Socket) -> &mut Client {
        &mut self.clients[of(socket.side)][socket.number]
    }

    /// Whether a side has a socket.
    pub fn is_here(&self, side: CallSide) -> bool {
        self.clients[of(side)].iter().any(|client| client.is_here())
    }

    /// The same state with interchangeable sockets in order.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.clients[0].sort_unstable();
        self.clients[1][..2].sort_unstable();
        self
    }

    /// Whether another socket stands for this one in a canonical state: the same events from it lead to the same states.
    pub fn has_twin_before(&self, socket: Socket) -> bool {
        let interchangeable = socket.side == CallSide::Caller || socket.number < 2;
        interchangeable && socket.number > 0 && self.client(socket) == self.clients[of(socket.side)][socket.number - 1]
    }
}

/// What a client says in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    /// Something that is no word of ours.
    Words,
    /// That the network failed.
    Network,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Accept,
    Reject(Said),
    /// With the seconds the client says were talked.
    End(Said, Option<u32>),
    Connected,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Ask(Socket, Request),
    /// The ring deadline has passed, nobody has noticed, and this is asked.
    AskLate(Socket, Request),
    /// Also to a process that has just begun and does not know of the call yet.
    Connect(Socket),
    Disconnect(Socket),
    /// The ring deadline passes.
    Deadline,
    /// The caller has been away for 20 s while it rang.
    CallerGone,
    /// Both have been away for 120 s while they talked.
    BothGone,
    /// The end is two minutes ago.
    TwoMinutes,
    /// The process ends; every socket is cut.
    Stop,
    /// The next process knows of the call.
    Start,
    /// The same, with the ring deadline passed meanwhile.
    StartLate,
}

/// Whether the process survives an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lives,
    /// It dies when the store has accepted the change, and before anybody has heard of it.
    DiesUnsaid,
    /// It dies when everything was said and logged, and before the store knows.
    DiesUnsettled,
}

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Incoming,
    Accepted,
    /// `answered_elsewhere`.
    Elsewhere,
    /// The callee's others after a reject.
    RejectedElsewhere,
    /// The caller after a reject.
    Rejected,
    Ended,
    Missed,
    /// The end, to a socket that asked too late.
    TooLate,
    Connected,
    Log,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Incoming,
        Self::Accepted,
        Self::Elsewhere,
        Self::RejectedElsewhere,
        Self::Rejected,
        Self::Ended,
        Self::Missed,
        Self::TooLate,
        Self::Connected,
        Self::Log,
    ];
}

/// The kinds one socket hears at one event, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard(u16);

impl Heard {
    pub fn add(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u16;
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether it says that the call is over.
    pub fn tells_the_end(self) -> bool {
        self.has(Kind::Ended) || self.has(Kind::Missed) || self.has(Kind::Rejected)
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Forbidden,
    AnsweredElsewhere,
    NotRinging,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub state: State,
    /// None if nothing was asked, or the process died.
    pub reply: Option<Reply>,
    /// By side and socket.
    pub heard: [[Heard; SOCKETS]; 2],
}

impl Outcome {
    pub fn heard_by(&self, socket: Socket) -> Heard {
        self.heard[of(socket.side)][socket.number]
    }
}
