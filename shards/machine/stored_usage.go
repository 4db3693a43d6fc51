package machine

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// StoredHoursMax is the most hours that one StoredUsageRequest asks for.
const StoredHoursMax = 10_000

// StoredUsage answers how much a namespace stored in some hours. It refuses with
// *mvcc.InvalidError or *mvcc.TooLargeError.
func StoredUsage(rows Rows, ns tenancy.NamespaceID, req *internalv1.StoredUsageRequest) (*internalv1.StoredUsageResponse, error) {
	start, end := req.GetStartHour(), req.GetEndHour()
	if end < start {
		return nil, &mvcc.InvalidError{Field: "end_hour", Message: "must not be less than start_hour"}
	}
	if end-start > StoredHoursMax {
		return nil, &mvcc.TooLargeError{Limit: "stored_hours_max", Value: end - start, Max: StoredHoursMax}
	}
	u := storedUsage{end: end}
	if err := u.load(rows, ns, req.GetNowMs()); err != nil {
		return nil, err
	}
	response := &internalv1.StoredUsageResponse{}
	if u.from == 0 {
		return response, nil
	}
	if err := u.past(rows, ns, start, response); err != nil {
		return nil, err
	}
	for hour := max(start, u.from/hourMS); hour < min(end, u.now/hourMS+1); hour++ {
		u.tell(response, hour, u.since(hour)/1000)
	}
	return response, nil
}

// storedUsage is what answers one request.
type storedUsage struct {
	end uint64
	// state is the namespace's row. It counts until from, and all is answered until
	// now, in milliseconds since 1970; from is 0 if it never held anything.
	state     internalv1.NamespaceState
	from, now uint64
}

func (u *storedUsage) load(rows Rows, ns tenancy.NamespaceID, now uint64) error {
	var shard internalv1.ShardState
	if err := readState(rows, shardRows, &shard); err != nil {
		return err
	}
	if err := readState(rows, ns, &u.state); err != nil {
		return err
	}
	if shard.GetAccountedFromMs() != 0 && (u.state.GetAccountedMs() != 0 || u.state.GetLiveBytes() != 0) {
		u.from = max(u.state.GetAccountedMs(), shard.GetAccountedFromMs())
	}
	u.now = min(max(cmp.Or(now, shard.GetTimeMs()), u.from), momentMax)
	return nil
}

// momentMax is later than any moment that is meant, and its sums have no overflow.
const momentMax = 1 << 53

func readState(rows Rows, ns tenancy.NamespaceID, into proto.Message) error {
	row, _, err := rows.Row(TableState, ns, nil)
	if err == nil {
		err = proto.Unmarshal(row, into)
	}
	if err != nil {
		return fmt.Errorf("read how much is stored: %w", err)
	}
	return nil
}

// since is what was held in an hour that is not over in the namespace's row, or
// after it, until now; in bytes times milliseconds.
func (u *storedUsage) since(hour uint64) uint64 {
	begin, counted := hour*hourMS, uint64(0)
	if u.from > begin {
		begin, counted = u.from, u.state.GetByteMs()
	}
	return counted + u.state.GetLiveBytes()*(min(u.now, (hour+1)*hourMS)-begin)
}

// past answers the hours from start on that rows tell of, and those between them.
func (u *storedUsage) past(rows Rows, ns tenancy.NamespaceID, start uint64, response *internalv1.StoredUsageResponse) error {
	end := min(u.end, u.from/hourMS)
	if start >= end {
		return nil
	}
	held, err := heldBefore(rows, ns, start)
	if err != nil {
		return err
	}
	next := start
	idle := func(until uint64) {
		for ; next < until; next++ {
			u.tell(response, next, held*(hourMS/1000))
		}
	}
	err = eachStoredHour(rows, ns, start, end, func(hour uint64, stored *internalv1.StoredHour) {
		idle(hour)
		u.tell(response, hour, stored.GetByteSeconds())
		held, next = stored.GetLiveBytes(), hour+1
	})
	idle(end)
	return err
}

func (u *storedUsage) tell(response *internalv1.StoredUsageResponse, hour, byteSeconds uint64) {
	if byteSeconds > 0 {
		response.Hours = append(response.Hours, &internalv1.StoredUsageHour{Hour: hour, ByteSeconds: byteSeconds})
	}
}

// heldBefore is what was held when an hour began, as the last row before it tells.
// It looks back further and further: mostly the row is near.
func heldBefore(rows Rows, ns tenancy.NamespaceID, hour uint64) (held uint64, err error) {
	for back := uint64(dayHours); ; back *= 8 {
		found, start := false, hour-min(back, hour)
		err := eachStoredHour(rows, ns, start, hour, func(_ uint64, stored *internalv1.StoredHour) {
			held, found = stored.GetLiveBytes(), true
		})
		if err != nil || found || start == 0 {
			return held, err
		}
	}
}

// eachStoredHour visits the rows of [start, end) in order.
func eachStoredHour(rows Rows, ns tenancy.NamespaceID, start, end uint64, visit func(hour uint64, stored *internalv1.StoredHour)) error {
	it := rows.Rows(TableStoredHours, ns, storedHourKey(start), storedHourKey(end))
	var stored internalv1.StoredHour
	for it.Next() {
		row, err := it.Value()
		if err == nil {
			err = proto.Unmarshal(row, &stored)
		}
		if err != nil {
			return errJoinClose(it, fmt.Errorf("read an hour's storage: %w", err))
		}
		visit(binary.BigEndian.Uint64(it.Key()), &stored)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read the hours of storage: %w", err)
	}
	return nil
}
