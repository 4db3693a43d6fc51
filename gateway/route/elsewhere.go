package route

import (
	"time"

	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// tellElsewhereAgain is how often it is told at most where the operations of a
	// namespace go: one who was told may have forgotten it.
	tellElsewhereAgain = time.Second
	// ledElsewhereMax bounds what is remembered of that.
	ledElsewhereMax = 1024
)

// ledElsewhere is what was told of namespaces that other nodes lead. The zero value is
// ready for use; not safe for concurrent use.
type ledElsewhere map[tenancy.NamespaceID]toldLeader

type toldLeader struct {
	node string
	at   time.Time
}

// isNews tells whether a node that leads a namespace is to be told, and takes it as
// told.
func (l *ledElsewhere) isNews(ns tenancy.NamespaceID, node string, now time.Time) bool {
	last, ok := (*l)[ns]
	if ok && last.node == node && now.Sub(last.at) < tellElsewhereAgain {
		return false
	}
	if *l == nil {
		*l = make(ledElsewhere)
	}
	if !ok && len(*l) >= ledElsewhereMax {
		for other := range *l { // whichever comes: that one may be told too soon
			delete(*l, other)
			break
		}
	}
	(*l)[ns] = toldLeader{node, now}
	return true
}

// tellElsewhere tells who leads an operation's namespace, if it is another node.
func (p *Pipeline) tellElsewhere(op *operation) {
	router := p.kv.router
	node := op.node
	if !op.isWrite() {
		node = router.target(op.route.Shard)
	}
	if node == "" || node == router.cfg.NodeID {
		return
	}
	p.mu.Lock()
	news := p.led.isNews(op.route.Namespace, node, time.Now())
	p.mu.Unlock()
	if news {
		p.elsewhere(op.namespace, node)
	}
}
