package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// outputFlag is -o: how a list or an answer is printed.
type outputFlag string

func (o *outputFlag) bind(f *pflag.FlagSet) {
	*o = "table"
	f.VarP(o, "output", "o", "how to print: table or json")
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Set implements pflag.Value.
func (o *outputFlag) Set(value string) error {
	if value != "table" && value != "json" {
		return fmt.Errorf("takes table or json")
	}
	*o = outputFlag(value)
	return nil
}

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

func (o *outputFlag) json() bool { return *o == "json" }

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// printTable prints aligned columns, at the end all at once. No line ends in spaces,
// as it would with an empty cell at its end.
func printTable(w io.Writer, header []string, rows [][]string) error {
	var aligned strings.Builder
	t := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// printable is a key or value that is safe for a terminal and a table cell:
// quoted if it has other than printable characters.
func printable(b []byte) string {
	if !utf8.Valid(b) {
		return fmt.Sprintf("%q", b)
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("%q", b)
		}
	}
	return string(b)
}

// protoJSON spells messages as the API does.
//
//nolint:gochecknoglobals // a constant in all but its type
var protoJSON = protojson.MarshalOptions{UseProtoNames: true}

func printProto(w io.Writer, message proto.Message) error {
	text, err := protoJSON.Marshal(message)
	if err != nil {
		return fmt.Errorf("print an answer: %w", err)
	}
	return printJSON(w, json.RawMessage(text))
}

// printProtos prints messages as one JSON array.
func printProtos[M proto.Message](w io.Writer, list []M) error {
	encoded := make([]json.RawMessage, len(list))
	for i, message := range list {
		text, err := protoJSON.Marshal(message)
		if err != nil {
			return fmt.Errorf("print an answer: %w", err)
		}
		encoded[i] = text
	}
	return printJSON(w, encoded)
}
