package apierr

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// retryAfterHeader tells when to try again, in whole seconds.
const retryAfterHeader = "Retry-After"

// ErrNoSuchPath says that there is nothing at the path of a request.
var ErrNoSuchPath = errors.New("there is nothing at this path")

// MethodError says that the method of a request is not one of its path.
type MethodError struct {
	// Allow are the methods that are, as the header of this name lists them.
	Allow string
}

func (e *MethodError) Error() string { return "the method is not allowed here: use one of " + e.Allow }

// WriteHTTP answers a request of the plain HTTP surface with err: the message
// flotilla.v1.Error as JSON, and the headers that HTTP has for it.
func WriteHTTP(w http.ResponseWriter, err error, requestID string) {
	WriteHTTPStatus(w, err, requestID, HTTPStatus(err))
}

// WriteHTTPStatus is WriteHTTP with another status than the error's own, for
// what HTTP sees differently.
func WriteHTTPStatus(w http.ResponseWriter, err error, requestID string, status int) {
	a := find(err, requestID)
	body, encodeErr := protojson.Marshal(&flotillav1.Error{Code: uint32(a.code), Message: a.message, Info: a.info})
	if encodeErr != nil {
		body = []byte("{}") // it does not fail, see validText
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	if after := a.info.GetRetryAfter(); after != nil {
		header.Set(retryAfterHeader, wholeSeconds(after.AsDuration()))
	}
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="flotilla"`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a caller that went away is not our error
}

// wholeSeconds rounds up: HTTP knows no shorter wait, and 0 would be none.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
