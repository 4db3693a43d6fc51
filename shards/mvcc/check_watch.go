package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// CheckWatch checks the form of a request. A watch of a range that can hold no
// key is refused: it could never show anything.
func CheckWatch(req *flotillav1.WatchCreate, lim Limits) error {
	switch target := req.GetTarget().(type) {
	case *flotillav1.WatchCreate_Key:
		return checkKey(target.Key, lim)
	case *flotillav1.WatchCreate_Range:
		if err := checkKeyRange(target.Range, lim); err != nil {
			return inField("range", err)
		}
		if _, _, empty := Bounds(target.Range); empty {
			return &InvalidError{Field: "range", Message: "holds no key: it ends before it starts"}
		}
		return nil
	}
	return &InvalidError{Field: "target", Message: "one of key and range must be set"}
}
