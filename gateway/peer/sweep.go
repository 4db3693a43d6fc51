package peer

import (
	"time"

	"google.golang.org/grpc"
)

const (
	// sweepInterval is how often a link that is asked something looks for what is
	// late.
	sweepInterval = 250 * time.Millisecond
	// pingAfter is after how long without a word a node is asked for a sign of
	// life.
	pingAfter = time.Second
)

// startSweeping has the link be looked after while something is asked of its node.
// It needs mu.
func (l *link) startSweeping() {
	if l.sweeping || l.closed != nil {
		return
	}
	l.sweeping = true
	if l.session != nil {
		l.session.hear() // it was not asked before
	}
	time.AfterFunc(sweepInterval, l.sweep)
}

// sweep ends what is late, asks for signs of life, and cuts the link when there
// are none.
func (l *link) sweep() {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	var silent time.Duration
	asked := 0
	if s != nil {
		silent, asked = s.sweep(time.Now())
	}
	if silent > l.cfg.SilenceMax {
		l.cut()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweeping = false
	if asked == 0 && l.queue.Len() == 0 && l.watches == 0 {
		return
	}
	if silent > pingAfter || l.watches > 0 && l.session == nil && !time.Now().Before(l.retryAt) {
		l.ping = true
		l.changed.Signal()
	}
	l.sweeping = l.closed == nil
	if l.sweeping {
		time.AfterFunc(sweepInterval, l.sweep)
	}
}

// cut drops the connection with all its streams: its node stands still, or what is
// between does. What waits turns elsewhere.
func (l *link) cut() {
	l.cfg.Log.Warn("node is silent: its connection is cut", "node_id", l.node)
	conn, err := dial(l.cfg, l.node, windowBytes)
	l.mu.Lock()
	if err != nil || l.closed != nil { // it was made the same way before, so it does not fail
		l.mu.Unlock()
		if err == nil {
			_ = conn.Close() // it was never used
		}
		return
	}
	if l.watchConn != nil {
		_ = l.watchConn.Close() // its streams end
		l.watchConn = nil       // it is made when it is needed
	}
	if s := l.forsake(); s != nil {
		s.cancel(errSilent)
	}
	_ = l.conn.Close() // its streams end
	l.conn = conn
	l.fall(errSilent)
	down := l.down
	l.mu.Unlock()
	l.failWaiting(down)
}

// watching returns the connection for one more stream of watches, which ends with
// done. Its node is asked for signs of life meanwhile.
func (l *link) watching() (conn *grpc.ClientConn, done func(), _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reachable(); err != nil {
		return nil, nil, err
	}
	if l.watchConn == nil {
		var err error
		if l.watchConn, err = dial(l.cfg, l.node, watchWindowBytes); err != nil {
			return nil, nil, err
		}
	}
	l.watches++
	l.startSweeping()
	return l.watchConn, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.watches--
	}, nil
}
