package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lni/dragonboat/v4"
)

// Member is one member of a shard's Raft group.
type Member struct {
	Replica uint64
	// Node is the id of its node.
	Node string
	// Voter tells whether it counts for the quorum; else it is non-voting.
	Voter bool
}

// Membership lists the members of a shard's Raft group by replica id, as of
// the call, unlike what the catalog says of it. ctx must have a deadline.
func (h *Host) Membership(ctx context.Context, id ShardID) ([]Member, error) {
	list, _, err := h.members(ctx, id)
	return list, err
}

// members also returns the number of the last change, which the next one has to
// name: so no change is made on what has changed meanwhile.
func (h *Host) members(ctx context.Context, id ShardID) (list []Member, lastChange uint64, err error) {
	group, err := h.group(ctx, id)
	if err != nil {
		return nil, 0, fmt.Errorf("read the members of shard %d: %w", id, err)
	}
	for replica, node := range group.Nodes {
		list = append(list, Member{Replica: replica, Node: node, Voter: true})
	}
	for replica, node := range group.NonVotings {
		list = append(list, Member{Replica: replica, Node: node})
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Replica, b.Replica) })
	return list, group.ConfigChangeID, nil
}

// group asks the engine, which asks the leader once and waits for as long as it is
// given: so it is given little time, and asked again.
func (h *Host) group(ctx context.Context, id ShardID) (*dragonboat.Membership, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, readIndexTimeoutMax)
		group, err := h.node.SyncGetShardMembership(attempt, uint64(id))
		cancel()
		again := errors.Is(err, dragonboat.ErrTimeout) || errors.Is(err, dragonboat.ErrShardNotReady)
		if !again || ctx.Err() != nil {
			return group, err
		}
		pause(ctx, retryTicks*h.cfg.RTT)
	}
}

// AddNonVoting adds a member that does not count for the quorum to a shard's
// Raft group, unless it is a member. The replica is to be started on the node
// after that. ctx must have a deadline.
func (h *Host) AddNonVoting(ctx context.Context, id ShardID, replica uint64, node string) error {
	return h.changeMember(ctx, id, replica, "add", func(m *Member) bool { return m != nil }, func(last uint64) error {
		return h.node.SyncRequestAddNonVoting(ctx, uint64(id), replica, node, last)
	})
}

// Promote makes a voter of a non-voting member, unless it is one. ctx must have
// a deadline.
func (h *Host) Promote(ctx context.Context, id ShardID, replica uint64, node string) error {
	return h.changeMember(ctx, id, replica, "promote", func(m *Member) bool { return m != nil && m.Voter }, func(last uint64) error {
		return h.node.SyncRequestAddReplica(ctx, uint64(id), replica, node, last)
	})
}

// RemoveReplica removes a member from a shard's Raft group, if it is one: its
// id is never taken again. ctx must have a deadline.
func (h *Host) RemoveReplica(ctx context.Context, id ShardID, replica uint64) error {
	return h.changeMember(ctx, id, replica, "remove", func(m *Member) bool { return m == nil }, func(last uint64) error {
		return h.node.SyncRequestDeleteReplica(ctx, uint64(id), replica, last)
	})
}

// changeMember makes a change unless it is done.
func (h *Host) changeMember(
	ctx context.Context, id ShardID, replica uint64, verb string, done func(*Member) bool, change func(lastChange uint64) error,
) error {
	members, last, err := h.members(ctx, id)
	if err != nil {
		return err
	}
	var member *Member
	if i := slices.IndexFunc(members, func(m Member) bool { return m.Replica == replica }); i >= 0 {
		member = &members[i]
	}
	if done(member) {
		return nil
	}
	if err := change(last); err != nil {
		return fmt.Errorf("%s replica %d of shard %d: %w", verb, replica, id, err)
	}
	return nil
}
