package rest

import (
	"net/http"

	"github.com/flotillakv/flotilla/gateway/meter"
)

// costWriter tells the cost of a call in the headers of its answer.
type costWriter struct {
	http.ResponseWriter
	call *meter.Call
	told bool
}

// WriteHeader implements http.ResponseWriter.
func (w *costWriter) WriteHeader(status int) {
	w.tell()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *costWriter) Write(body []byte) (int, error) {
	w.tell()
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *costWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *costWriter) tell() {
	if w.told {
		return
	}
	w.told = true
	read, write := w.call.Units()
	w.Header().Set(meter.ReadUnitsHeader, read)
	w.Header().Set(meter.WriteUnitsHeader, write)
}
