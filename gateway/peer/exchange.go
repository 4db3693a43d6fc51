package peer

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/gather"
	"github.com/flotillakv/flotilla/gateway/intercept"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// timeoutMax bounds what another node may say.
const timeoutMax = 5 * time.Minute

type exchangeStream = grpc.BidiStreamingServer[internalv1.ExchangeRequest, internalv1.ExchangeResponse]

// exchange is one stream of another node's operations.
type exchange struct {
	*Server
	ctx     context.Context //nolint:containedctx // the stream's
	answers *answers
	short   *gather.Gatherer[readKey, *asked]
	long    *gather.Gatherer[readKey, *asked]
	command internalv1.Command // reused to look at commands
}

// Exchange implements PeerService.
func (s *Server) Exchange(stream exchangeStream) error {
	if err := s.admit(stream.Context()); err != nil {
		return err
	}
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	// The other node waits for it before it writes.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	x := &exchange{
		Server: s, ctx: ctx, answers: newAnswers(&s.cfg),
		short: gather.New[readKey, *asked](shortReadersMax, messageOperations),
		long:  gather.New[readKey, *asked](longReadersMax, 1),
	}
	defer cancel(nil)
	ended := context.AfterFunc(ctx, func() { x.answers.end(context.Cause(ctx)) })
	defer ended()
	received := make(chan error, 1)
	go func() { // ends with the stream
		err := x.receive(stream)
		if !errors.Is(err, io.EOF) {
			cancel(err)
		}
		x.answers.drain()
		received <- err
	}()
	go func() {
		select {
		case <-s.stopping:
			x.answers.say(true)
		case <-ctx.Done():
		}
	}()
	if err := x.answers.send(stream.Send); err != nil {
		return err
	}
	if err := <-received; !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// receive begins operations as they come.
func (x *exchange) receive(stream exchangeStream) (err error) {
	defer intercept.Recovered(&err)
	for {
		if err := x.answers.room(); err != nil {
			return err
		}
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(message.GetOperations()) == 0 {
			x.answers.say(false)
		}
		now := time.Now()
		for _, op := range message.GetOperations() {
			timeout := time.Duration(min(op.GetTimeoutMs(), uint64(timeoutMax.Milliseconds()))) * time.Millisecond
			if op.GetQueries() != nil {
				x.ask(op, now.Add(timeout))
			} else {
				x.submit(op, now.Add(timeout))
			}
		}
	}
}

// submit hands a command to its shard.
func (x *exchange) submit(op *internalv1.PeerOperation, deadline time.Time) {
	x.metrics.commands.Inc()
	id, bytes := op.GetId(), len(op.GetCommand())
	x.answers.begin(1, bytes)
	answer := func(r machine.Result) {
		a := &internalv1.PeerAnswer{Id: id}
		encodeAnswer(a, r.Response, r.Err)
		x.answers.add(a, 1, bytes)
	}
	if err := x.check(op.GetCommand()); err != nil {
		x.metrics.malformed.Inc()
		answer(machine.Result{Err: err})
		return
	}
	err := x.cfg.Local.Submit(shards.ShardID(op.GetShardId()), &shards.Call{
		Tenant: tenancy.TenantID(op.GetTenant()), Weight: int(op.GetWeight()), Command: op.GetCommand(), FreesSpace: op.GetFreesSpace(),
		Deadline: deadline, Done: answer,
	})
	if err != nil {
		answer(machine.Result{Err: err})
	}
}

// check looks whether a command is one that callers may send. One that is
// malformed would halt every replica of the shard.
func (x *exchange) check(command []byte) error {
	x.command.Reset()
	if err := proto.Unmarshal(command, &x.command); err != nil {
		return &mvcc.InvalidError{Field: "command", Message: "is malformed"}
	}
	switch x.command.GetOperation().(type) {
	case *internalv1.Command_Put, *internalv1.Command_Delete, *internalv1.Command_Txn, *internalv1.Command_Compact,
		*internalv1.Command_GrantLease, *internalv1.Command_KeepAlive, *internalv1.Command_RevokeLease,
		*internalv1.Command_DropNamespaceSlice:
		return nil
	default:
		return &mvcc.InvalidError{Field: "command", Message: "is none that another node may send"}
	}
}
