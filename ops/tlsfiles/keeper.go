package tlsfiles

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookInterval is how often the files are looked at, at most, when somebody
// connects.
const lookInterval = 2 * time.Second

// A keeper has a certificate, and takes another one when the files are replaced.
// Nothing runs in the background: whoever shakes hands looks whether it is time.
type keeper struct {
	files Files
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	demands []func(*tls.Certificate, time.Time) error
	current *tls.Certificate // Invariant: met all demands when it was taken
	looked  time.Time
	// taken is how the files were when current was read, and refused how they
	// were when that went wrong last, if failed; told is whether that was logged.
	taken, refused stamp
	failed, told   bool
}

// stamp is how a pair of files looks from outside.
type stamp struct{ cert, key fs.FileInfo } // nil for a file that is not there

func (s stamp) same(other stamp) bool {
	return sameFile(s.cert, other.cert) && sameFile(s.key, other.key)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func newKeeper(files Files, env Env) (*keeper, error) {
	k := &keeper{files: files, now: env.Now, log: env.Log, looked: env.Now()}
	// The stamp is taken before the files are read: a change in between is
	// seen as one.
	k.taken = k.stamp()
	pair, err := readPair(files, env.Now())
	if err != nil {
		return nil, err
	}
	k.current = pair
	return k, nil
}

// demand adds a check that the certificate must meet, and later ones too.
func (k *keeper) demand(check func(*tls.Certificate, time.Time) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := check(k.current, k.now()); err != nil {
		return err
	}
	k.demands = append(k.demands, check)
	return nil
}

func (k *keeper) forServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.get(), nil }

func (k *keeper) forClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return k.get(), nil
}

// get is the certificate of now.
func (k *keeper) get() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.looked) >= lookInterval {
		k.looked = now
		k.look(now)
	}
	return k.current
}

// look takes the certificate in the files if it is another one, and good.
func (k *keeper) look(now time.Time) {
	seen := k.stamp()
	if seen.same(k.taken) || k.told && seen.same(k.refused) {
		return
	}
	pair, err := k.read(now)
	if err == nil {
		k.current, k.taken = pair, seen
		k.log.Info("certificate replaced", "path", k.files.Cert.Value, "not_after", pair.Leaf.NotAfter)
		return
	}
	// Two files are not replaced at once: it is told only if they stay so.
	if k.failed && seen.same(k.refused) {
		k.told = true
		k.log.Warn("certificate cannot be replaced: the old one is kept", "err", err, "not_after", k.current.Leaf.NotAfter)
		return
	}
	k.refused, k.failed, k.told = seen, true, false
}

func (k *keeper) read(now time.Time) (*tls.Certificate, error) {
	pair, err := readPair(k.files, now)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, check := range k.demands {
		errs = append(errs, check(pair, now))
	}
	return pair, errors.Join(errs...)
}

func (k *keeper) stamp() stamp {
	return stamp{cert: stat(k.files.Cert.Value), key: stat(k.files.Key.Value)}
}

func stat(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil // the reader tells why
	}
	return info
}
