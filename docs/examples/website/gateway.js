// A client of the gateway for a web page. It connects with a ticket, sends heartbeats, and renews its ticket before its
// session ends. When the connection is lost, it reconnects with a new ticket and gets the events that it missed.
//
// At `load` the page has to read its state: it has just been opened, or some of the missed events are lost.

export class Gateway extends EventTarget {
  #ticket; // Asks the website's own backend for a ticket: returns {ticket, url}.
  #socket = null;
  #heartbeat = null;
  #answers = new Map();
  #position; // Everything up to here has been received. Unknown until the first connect success.
  #nonce = 0;
  #attempts = 0;
  #isStopped = false;
  #isHeard = true;

  constructor(ticket) {
    super();
    this.#ticket = ticket;
  }

  async start() {
    try {
      const { ticket, url } = await this.#ticket();
      if (this.#isStopped) return;
      const socket = new WebSocket(`${url}/?v=1`);
      this.#socket = socket;
      socket.onmessage = ({ data }) => this.#receive(socket, JSON.parse(data), ticket);
      socket.onclose = ({ code }) => this.#lose(code);
    } catch {
      this.#lose(0);
    }
  }

  stop() {
    this.#isStopped = true;
    this.#socket?.close(1000);
  }

  // Sends an event. The promise resolves when the gateway has accepted it, and rejects with the refusal.
  send(t, d) {
    const n = ++this.#nonce;
    return new Promise((resolve, reject) => {
      // A socket that is not open drops what it is given.
      if (this.#socket?.readyState !== WebSocket.OPEN) return reject({ code: "not_connected" });
      this.#answers.set(n, { resolve, reject });
      this.#socket.send(JSON.stringify({ op: 1, t, n, d }));
    });
  }

  #receive(socket, packet, ticket) {
    switch (packet.op) {
      case 5: // Hello.
        this.#identify(socket, ticket);
        // Twice as often as needed, because a browser delays the timers of hidden pages.
        this.#heartbeat = setInterval(() => this.#beat(socket), packet.d.heartbeat / 2);
        return;
      case 11: // The gateway has received a heartbeat.
        this.#isHeard = true;
        this.#position = packet.p;
        return;
      case 0:
        return this.#event(packet);
      case -1: // An error. The gateway closes after it.
        return this.#tell("error", packet);
    }
  }

  // With `after`, the gateway sends the events after this position first. Without a value, JSON has no `after`.
  #identify(socket, ticket) {
    const d = { type: "website", key: ticket, positions: true, after: this.#position };
    socket.send(JSON.stringify({ op: 1, t: "identify", d }));
  }

  #event({ t, d, n, p, u }) {
    const isFirst = this.#position === undefined;
    // An event has its position beside its data, an answer or news of the gateway in it.
    this.#position = p ?? d.position ?? this.#position;
    if (t === "event_accepted" || t === "event_refused") {
      const answer = this.#answers.get(n);
      this.#answers.delete(n);
      return t === "event_accepted" ? answer?.resolve(d) : answer?.reject(d);
    }
    if (t === "website_connect_success") this.#attempts = 0;
    if (t === "session_expiring") this.#renew();
    if (isFirst || t === "events_lost") this.#tell("load");
    this.#tell(t, { d, u });
  }

  // A connection on which heartbeats are not answered is dead, although the browser may not know.
  #beat(socket) {
    if (!this.#isHeard) return socket.close();
    this.#isHeard = false;
    socket.send('{"op":10}');
  }

  // If that fails, the session ends, and the page comes back with a new ticket.
  async #renew() {
    try {
      const { ticket } = await this.#ticket();
      this.#tell("renewed", await this.send("renew", { key: ticket }));
    } catch (problem) {
      this.#tell("error", problem);
    }
  }

  // Reconnects with a new ticket: the old one is used up.
  #lose(code) {
    clearInterval(this.#heartbeat);
    this.#isHeard = true;
    for (const { reject } of this.#answers.values()) reject({ code: "connection_lost" });
    this.#answers.clear();
    this.#tell("lost", { code });
    if (this.#isStopped) return;
    const longest = Math.min(30_000, 500 * 2 ** this.#attempts++);
    setTimeout(() => this.start(), Math.random() * longest);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
