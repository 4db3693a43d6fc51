package watch

import (
	"sync"
	"sync/atomic"
)

// readersMax is how many streams of a tenant read history at the same time.
// What they read counts as being sent only when it was read.
const readersMax = 4

// sending is what a tenant's streams gave out with Next, and was not sent yet: it
// counts until the next call of Next, or Close. While it is more than its bound,
// which is less the more other tenants have, no stream of the tenant gives out
// events. What is being sent ends by itself, because front doors end streams whose
// callers take nothing; and a tenant of which nothing is being sent waits for nobody.
//
// W4: nothing that counts here waits for anything but its caller.
type sending struct {
	bytes   amount
	readers chan struct{} // a token for each that reads

	waits   atomic.Bool // waiting is not empty
	mu      sync.Mutex
	waiting map[*Stream]struct{} // to be woken when there is room
}

func newSending(all *atomic.Int64) sending {
	return sending{bytes: amount{all: all}, readers: make(chan struct{}, readersMax)}
}

// over tells whether a tenant that is sending so much is to wait.
func (a *sending) over(bytes, bytesMax int64) bool {
	return bytes > 0 && bytes > a.bytes.most(bytesMax)
}

// full tells whether a stream is to give out no events now; then it is woken
// when it may.
func (a *sending) full(s *Stream, bytesMax int64) bool {
	if !a.over(a.bytes.Load(), bytesMax) {
		return false
	}
	a.mu.Lock()
	if a.waiting == nil {
		a.waiting = make(map[*Stream]struct{})
	}
	a.waiting[s] = struct{}{}
	a.waits.Store(true)
	a.mu.Unlock()
	return a.over(a.bytes.Load(), bytesMax) // or there is room meanwhile
}

// add counts bytes, which may be negative, and wakes those that wait if there is
// room then.
func (a *sending) add(bytes, bytesMax int64) {
	if a.over(a.bytes.Add(bytes), bytesMax) || bytes >= 0 || !a.waits.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.waiting {
		s.signal()
	}
	a.waiting = nil
	a.waits.Store(false)
}

// forget takes a stream off those that wait.
func (a *sending) forget(s *Stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, s)
}

// startReading waits until one more stream may read history, which takes
// milliseconds. endReading must follow when what was read is counted.
func (a *sending) startReading() { a.readers <- struct{}{} }

func (a *sending) endReading() { <-a.readers }

// cost is about how many bytes an answer takes while it is being sent: its
// events, which may be its own, and what the front door makes of them.
func (a *Answer) cost() int64 {
	n := 0
	for _, e := range a.Events {
		n += eventOverheadBytes + 2*e.answerBytes(a.PrevKV)
	}
	return int64(n)
}

// join finds the stream its place among the tenant's, with its first watch.
func (s *Stream) join(hub *Hub, owner Owner) error {
	return s.joinAccounts(hub.accounts, owner, hub.cfg.SendingBytesMax)
}

func (s *Stream) joinAccounts(accounts *Accounts, owner Owner, sendingMax int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	if s.account != nil {
		return nil
	}
	account, err := accounts.openStream(owner.Tenant, owner.StreamsMax)
	if err != nil {
		return err
	}
	s.accounts, s.account, s.sendingMax = accounts, account, int64(sendingMax)
	return nil
}

// full tells whether the tenant's streams are to give out no events now. It
// needs mu.
func (s *Stream) full() bool {
	return s.account != nil && s.ended == nil && s.account.sending.full(s, s.sendingMax)
}

// charge counts an answer as being sent, as large as it is now. It needs mu.
func (s *Stream) charge(a *Answer) {
	cost := a.cost()
	s.account.sending.add(cost-a.charged, s.sendingMax)
	s.sending += cost - a.charged
	a.charged = cost
}

// wasSent tells that nothing of what was given out is being sent any more.
func (s *Stream) wasSent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sending != 0 {
		s.account.sending.add(-s.sending, s.sendingMax)
		s.sending = 0
	}
}

// leaveAccount gives the stream's place back.
func (s *Stream) leaveAccount() {
	s.wasSent()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.account != nil {
		s.account.sending.forget(s)
		s.accounts.closeStream(s.account)
		s.account = nil
	}
}
