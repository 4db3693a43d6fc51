package intercept

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// keyUseEvery is how often the use of one key is noted at most.
	keyUseEvery = 10 * time.Minute
	// keysNotedMax bounds the keys that are remembered as noted: one that is
	// forgotten is only noted more often.
	keysNotedMax = 100_000
	// keyUsesWaiting bounds the notes that wait to be written; what is beyond it is
	// noted with the key's next use.
	keyUsesWaiting = 10_000
	// keyUsesWriteEvery is how often notes are written.
	keyUsesWriteEvery = 5 * time.Second
	// keyUsesTimeout bounds one write.
	keyUsesTimeout = 10 * time.Second
	// keyUsesOfWrite is how many notes one write has at most.
	keyUsesOfWrite = 500
)

// Ledger keeps when API keys were used; it is the catalog.
type Ledger interface {
	NoteKeyUses(ctx context.Context, ids []string, at time.Time) error
}

// KeyUses takes note of the API keys that are used. Safe for concurrent use.
type KeyUses struct {
	ledger Ledger
	now    func() time.Time
	log    *slog.Logger

	mu sync.Mutex
	// noted is when a key's use was noted last.
	noted   *simplelru.LRU[string, time.Time]
	waiting []string
}

// NewKeyUses makes a KeyUses; Run writes down what it has noted.
func NewKeyUses(ledger Ledger, now func() time.Time, log *slog.Logger) *KeyUses {
	noted, _ := simplelru.NewLRU[string, time.Time](keysNotedMax, nil) // it fails for a size of 0 alone
	return &KeyUses{ledger: ledger, now: now, log: log, noted: noted}
}

// note notes that a key is used now.
func (u *KeyUses) note(id string) {
	now := u.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.noted.Get(id); ok && now.Sub(at) < keyUseEvery {
		return
	}
	if len(u.waiting) < keyUsesWaiting {
		u.noted.Add(id, now)
		u.waiting = append(u.waiting, id)
	}
}

// Run writes the notes down, until ctx ends.
func (u *KeyUses) Run(ctx context.Context) error {
	ticker := time.NewTicker(keyUsesWriteEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			u.write(ctx)
		}
	}
}

// write writes all notes that wait. What cannot be written is noted again with the
// keys' next uses.
func (u *KeyUses) write(ctx context.Context) {
	u.mu.Lock()
	ids := u.waiting
	u.waiting = nil
	u.mu.Unlock()
	for len(ids) > 0 {
		part := ids[:min(len(ids), keyUsesOfWrite)]
		ids = ids[len(part):]
		err := u.writeSome(ctx, part)
		if err == nil {
			continue
		}
		u.log.Debug("uses of API keys are not noted", "keys", len(part), "err", err)
		u.mu.Lock()
		for _, id := range part {
			u.noted.Remove(id)
		}
		u.mu.Unlock()
	}
}

func (u *KeyUses) writeSome(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, keyUsesTimeout)
	defer cancel()
	return u.ledger.NoteKeyUses(ctx, ids, u.now())
}
