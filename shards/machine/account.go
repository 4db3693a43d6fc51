package machine

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// How much a namespace stores is an integral: its live bytes over the machine's
// time. It is kept with the writes that change it, and nothing is done while
// nothing changes: between two changes the integral follows from what is held.
//
//	namespace's row   byte_ms    of the hour of accounted_ms, until accounted_ms
//	TableStoredHours  one row    for each hour before that in which it changed
//
// Numbers are exact but for the part of a second at the end of an hour. One hour of
// a namespace of less than 5 TB has no overflow.
const (
	hourMS   = 60 * 60 * 1000
	dayHours = 24
	// storedHoursKept is for how many hours rows are kept: 400 days.
	storedHoursKept = 400 * dayHours
	// storedHoursDropped is how many older rows are removed with the first change of
	// a day. A day leaves at most 24.
	storedHoursDropped = 48
)

// account adds to the namespace's integral the time until now, in which it held so
// many bytes. It is called when it holds another number.
func (m *Machine) account(b Batch, ns *namespace, held uint64) error {
	if m.shard.GetAccountedFromMs() == 0 || ns.state.LiveBytes == held {
		return nil
	}
	now, from := m.Now(), max(ns.accountedMS, m.shard.GetAccountedFromMs())
	if ns.accountedMS == 0 && held == 0 { // nothing was held before
		from = now
	}
	if hour := from / hourMS; hour < now/hourMS {
		total := ns.byteMS + held*((hour+1)*hourMS-from)
		if err := setStoredHour(b, ns.id, hour, &internalv1.StoredHour{ByteSeconds: total / 1000, LiveBytes: held}); err != nil {
			return err
		}
		if hour/dayHours < now/hourMS/dayHours {
			if err := dropStoredHours(b, ns.id, hour); err != nil {
				return err
			}
		}
		ns.byteMS, from = 0, now-now%hourMS
	}
	ns.byteMS += held * (now - from)
	ns.accountedMS = now
	return nil
}

func setStoredHour(b Batch, ns tenancy.NamespaceID, hour uint64, stored *internalv1.StoredHour) error {
	row, err := proto.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode an hour's storage: %w", err)
	}
	if err := b.SetRow(TableStoredHours, ns, storedHourKey(hour), row); err != nil {
		return fmt.Errorf("keep an hour's storage: %w", err)
	}
	return nil
}

func storedHourKey(hour uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), hour)
}

// dropStoredHours removes some rows that are too old when one is written. The newest
// of them stays: it tells what was held in the hours after it.
func dropStoredHours(b Batch, ns tenancy.NamespaceID, hour uint64) error {
	if hour < storedHoursKept {
		return nil
	}
	var old [][]byte
	it := b.Rows(TableStoredHours, ns, nil, storedHourKey(hour-storedHoursKept+1))
	for len(old) <= storedHoursDropped && it.Next() {
		old = append(old, append([]byte(nil), it.Key()...))
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("look for old hours of storage: %w", err)
	}
	for i := range len(old) - 1 {
		if err := b.DeleteRow(TableStoredHours, ns, old[i]); err != nil {
			return fmt.Errorf("drop an hour's storage: %w", err)
		}
	}
	return nil
}
