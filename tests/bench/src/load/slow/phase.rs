//! One phase of a run: events for a while, with or without slow clients, then a quiet time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    super::{
        client::LoadProtocol,
        client_set::ReadMode,
        http::Http,
        publisher::{EndedSample, publish, watch},
    },
    IDLE, SlowPhaseReport, SlowRun,
    client_records::ReaderKind,
};

/// How often to read the node's count of evictions. Shorter than `limits.evict_linger_ms`.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often a drip reader reads, and how many bytes.
const DRIP: Duration = Duration::from_millis(500);
const DRIP_BYTES: usize = 65_536;
/// How long clients may take to identify, to receive what was published, and to see their connections end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A phase in progress.
pub(super) struct SlowPhase<'r, 'a> {
    run: &'r mut SlowRun<'a>,
    began: Instant,
    drip_due: Instant,
    peak_kib: u32,
    /// Time from the start to the first and to the last eviction so far, and the number of evictions.
    first: Option<Duration>,
    last: Option<Duration>,
    evicted: u32,
    /// Evictions before this phase.
    before: u32,
    /// Whether the `Resuming` clients, which were evicted while they did not read, read again.
    are_back: bool,
}

impl SlowRun<'_> {
    /// Connects the healthy clients.
    pub(super) fn admit_healthy(&mut self) -> Result<()> {
        self.admit(ReaderKind::Healthy, self.options.healthy)?;
        self.until_settled()
    }

    fn admit(&mut self, kind: ReaderKind, count: u32) -> Result<()> {
        let read_mode = match kind {
            ReaderKind::Healthy | ReaderKind::Resumed => ReadMode::Eager,
            ReaderKind::Stopped | ReaderKind::Resuming | ReaderKind::Drip => ReadMode::OnDemand,
        };
        for _ in 0..count {
            self.client_set.open(read_mode, None)?;
            self.records.add(kind, self.next);
        }
        Ok(())
    }

    fn until_settled(&mut self) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !self.records.is_settled() {
            ensure!(
                Instant::now() < deadline,
                "not every client has identified within {TIMEOUT:?}"
            );
            self.turn(IDLE)?;
        }
        Ok(())
    }

    fn http(&self) -> Result<Http> {
        Http::connect(self.gateway.address, &self.gateway.key)
    }
}

impl<'r, 'a> SlowPhase<'r, 'a> {
    /// Runs a phase: publishes, waits, reads the node's memory, and lets all slow clients go.
    pub(super) fn run(run: &'r mut SlowRun<'a>, name: &str, stopped: u32, drip: u32) -> Result<SlowPhaseReport> {
        let from = run.records.count();
        let resuming = run.options.resuming.min(stopped);
        run.admit(ReaderKind::Resuming, resuming)?;
        run.admit(ReaderKind::Stopped, stopped - resuming)?;
        run.admit(ReaderKind::Drip, drip)?;
        run.until_settled()?;
        let cpu = run.gateway.usage()?;
        let first = run.next;
        let mut phase = Self {
            began: Instant::now(),
            drip_due: Instant::now(),
            peak_kib: 0,
            first: None,
            last: None,
            evicted: 0,
            before: 0,
            are_back: false,
            run,
        };
        phase.publish(stopped, drip)?;
        phase.settle()?;
        let usage = phase.run.gateway.usage()?;
        let (next, clients) = (phase.run.next, from..phase.run.records.count());
        let resumed = u32::try_from(phase.run.records.resumed(clients, next))?;
        phase.drain_slow()?;
        let Self {
            run,
            peak_kib,
            first: first_evicted,
            last: last_evicted,
            evicted,
            ..
        } = phase;
        let (latency, errors) = run.records.take();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Ok(SlowPhaseReport {
            name: name.to_owned(),
            events: run.next - first,
            slow: stopped + drip,
            resuming,
            resumed,
            evicted,
            first_evicted_s: seconds(first_evicted),
            last_evicted_s: seconds(last_evicted),
            peak_kib: peak_kib.max(usage.resident_kib),
            after_kib: usage.resident_kib,
            cpu_ms: usage.cpu_us_since(&cpu) / 1000.0,
            latency,
            missed: errors.missed,
            repeated: errors.repeated,
            lost: errors.lost,
            endings: run.records.endings(from..run.records.count()),
        })
    }

    /// Publishes until every slow client has been evicted or the deadline has passed, and at least for the requested
    /// time.
    fn publish(&mut self, stopped: u32, drip: u32) -> Result<()> {
        let options = self.run.options;
        let least = self.began + Duration::from_secs(options.seconds.into());
        let most = self.began + Duration::from_secs(options.deadline_seconds.max(options.seconds).into());
        let (watcher, samples) = watch(self.run.http()?, too_slow(options.protocol), POLL_INTERVAL);
        let baseline = samples.recv_timeout(TIMEOUT)?;
        self.before = baseline.ended;
        let publisher = publish(self.run.http()?, self.run.next, options.pace(), self.run.origin);
        while Instant::now() < least || (self.evicted < stopped + drip && Instant::now() < most) {
            self.turn()?;
            for sample in samples.try_iter() {
                self.record(sample);
            }
            self.are_back |= stopped > 0 && self.evicted >= stopped;
            if publisher.has_ended() || watcher.has_ended() {
                break;
            }
        }
        self.run.next = publisher.stop()?;
        watcher.stop()
    }

    /// Waits until every client that must receive everything has done so, at most [`TIMEOUT`], and at least for the
    /// requested quiet time.
    fn settle(&mut self) -> Result<()> {
        let next = self.run.next;
        let quiet = Instant::now() + Duration::from_secs(self.run.options.settle_seconds.into());
        let deadline = Instant::now() + TIMEOUT;
        while !(self.run.records.has_received(next) && self.all_have_resumed()) && Instant::now() < deadline {
            self.turn()?;
        }
        self.run.records.count_missed(next);
        while Instant::now() < quiet {
            self.turn()?;
        }
        Ok(())
    }

    /// Lets all slow clients read to the end and waits until they are disconnected.
    fn drain_slow(&mut self) -> Result<()> {
        let run = &mut *self.run;
        let deadline = Instant::now() + TIMEOUT;
        for kind in [
            ReaderKind::Resuming,
            ReaderKind::Resumed,
            ReaderKind::Stopped,
            ReaderKind::Drip,
        ] {
            for number in run.records.connected(kind) {
                if kind == ReaderKind::Resumed {
                    run.client_set.close(number);
                }
                run.client_set
                    .read_eagerly(number, &mut |number, event| run.records.record(number, event))?;
            }
            while !run.records.connected(kind).is_empty() && Instant::now() < deadline {
                run.turn(IDLE)?;
            }
        }
        Ok(())
    }

    /// Handles socket events once, and lets drip readers and resuming clients read when it is their turn.
    fn turn(&mut self) -> Result<()> {
        self.run.turn(IDLE)?;
        if self.are_back {
            self.resume()?;
        }
        let now = Instant::now();
        if now >= self.drip_due {
            self.drip_due = now + DRIP;
            let run = &mut *self.run;
            for number in run.records.connected(ReaderKind::Drip) {
                run.client_set.read(number, DRIP_BYTES, &mut |number, event| {
                    run.records.record(number, event);
                })?;
            }
            self.peak_kib = self.peak_kib.max(run.gateway.usage()?.resident_kib);
        }
        Ok(())
    }

    fn record(&mut self, sample: EndedSample) {
        let since = sample.at.saturating_duration_since(self.began);
        self.evicted = sample.ended - self.before;
        if self.evicted > 0 {
            self.first.get_or_insert(since);
            self.last = Some(since);
        }
    }

    /// Lets evicted clients read what is left, and resumes their sessions if the protocol has any.
    fn resume(&mut self) -> Result<()> {
        let run = &mut *self.run;
        for number in run.records.connected(ReaderKind::Resuming) {
            run.client_set
                .read_eagerly(number, &mut |number, event| run.records.record(number, event))?;
        }
        for (resume_point, next) in run.records.take_resumable() {
            run.client_set.resume(resume_point)?;
            run.records.add(ReaderKind::Resumed, next);
        }
        Ok(())
    }

    /// Returns whether every client that can resume its session has started to.
    fn all_have_resumed(&self) -> bool {
        let is_possible = self.run.options.protocol == LoadProtocol::Discord && self.are_back;
        !is_possible || self.run.records.connected(ReaderKind::Resuming).is_empty()
    }
}

/// Returns the close code of an eviction.
const fn too_slow(protocol: LoadProtocol) -> u16 {
    match protocol {
        LoadProtocol::V1 => 1013,
        LoadProtocol::Discord => 4000,
    }
}
