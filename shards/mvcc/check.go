package mvcc

import (
	"bytes"
	"errors"
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// The checks here need no state. Each error is an *InvalidError, a
// *TooLargeError or a *DuplicateKeyError. They run at the edge, with a
// tenant's limits, before a request is proposed, and again with HardLimits in
// the operations themselves.

// CheckGet checks the form of a request.
func CheckGet(req *flotillav1.GetRequest, lim Limits) error {
	return checkKey(req.GetKey(), lim)
}

// CheckRange checks the form of a request.
func CheckRange(req *flotillav1.RangeRequest, lim Limits) error {
	if err := inField("keys", checkKeyRange(req.GetKeys(), lim)); err != nil {
		return err
	}
	return checkEnum("sort_target", flotillav1.SortTarget_name, int32(req.GetSortTarget()))
}

// CheckPut checks the form of a request.
func CheckPut(req *flotillav1.PutRequest, lim Limits) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	if err := checkKey(req.GetKey(), lim); err != nil {
		return err
	}
	if err := checkSize("value_bytes_max", len(req.GetValue()), lim.ValueBytesMax); err != nil {
		return err
	}
	if req.GetIgnoreValue() && len(req.GetValue()) > 0 {
		return &InvalidError{Field: "value", Message: "must be empty with ignore_value"}
	}
	if req.GetIgnoreLease() && req.GetLease() != 0 {
		return &InvalidError{Field: "lease", Message: "must be 0 with ignore_lease"}
	}
	return checkPreconditionForm(req.GetPrecondition())
}

// CheckDelete checks the form of a request.
func CheckDelete(req *flotillav1.DeleteRequest, lim Limits) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	switch target := req.GetTarget().(type) {
	case *flotillav1.DeleteRequest_Key:
		if err := checkKey(target.Key, lim); err != nil {
			return err
		}
		return checkPreconditionForm(req.GetPrecondition())
	case *flotillav1.DeleteRequest_Range:
		if req.GetPrecondition() != nil {
			return &InvalidError{Field: "precondition", Message: "is only for the deletion of one key"}
		}
		return inField("range", checkKeyRange(target.Range, lim))
	}
	return &InvalidError{Field: "target", Message: "one of key and range must be set"}
}

// CheckCompact checks the form of a request.
func CheckCompact(req *flotillav1.CompactRequest, _ Limits) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	if req.GetRevision() == 0 {
		return &InvalidError{Field: "revision", Message: "must be set"}
	}
	return nil
}

func checkRequestID(id string) error {
	return checkSize("request_id_bytes_max", len(id), RequestIDBytesMax)
}

func checkKey(key []byte, lim Limits) error {
	if len(key) == 0 {
		return &InvalidError{Field: "key", Message: "must not be empty"}
	}
	return checkSize("key_bytes_max", len(key), lim.KeyBytesMax)
}

func checkKeyRange(r *flotillav1.KeyRange, lim Limits) error {
	for _, bound := range [][]byte{r.GetPrefix(), r.GetStart(), r.GetEnd()} {
		if err := checkSize("key_bytes_max", len(bound), lim.KeyBytesMax+1); err != nil {
			return err
		}
	}
	if len(r.GetEnd()) > 0 && bytes.Compare(r.GetStart(), r.GetEnd()) > 0 {
		return &InvalidError{Field: "end", Message: "must not be less than start"}
	}
	return nil
}

// checkPreconditionForm refuses conditions that cannot hold together.
func checkPreconditionForm(p *flotillav1.Precondition) error {
	absent := p.GetMustNotExist() || p != nil && p.ModRevision != nil && p.GetModRevision() == 0
	present := p.GetMustExist() || p.GetModRevision() > 0
	if absent && present {
		return &InvalidError{Field: "precondition", Message: "asks that the key exists and that it does not"}
	}
	return nil
}

func checkEnum(field string, names map[int32]string, value int32) error {
	if _, ok := names[value]; !ok {
		return &InvalidError{Field: field, Message: fmt.Sprintf("has no meaning for %d", value)}
	}
	return nil
}

func checkSize(limit string, size, most int) error {
	if size > most {
		return &TooLargeError{Limit: limit, Value: uint64(size), Max: uint64(most)}
	}
	return nil
}

// inField places the field that an error names in the field given.
func inField(outer string, err error) error {
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		return &InvalidError{Field: outer + "." + invalid.Field, Message: invalid.Message}
	}
	return err
}
