package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/coordd/coordd/server/metrics"
)

// object is a JSON object whose fields keep their order.
type object []field

type field struct {
	name  string
	value any // object, []object, float64, or what encoding/json writes in one line
}

// write prints an object as Jackson's default pretty printer does: two spaces a
// level, " : " behind names, arrays in line.
func (o object) write(b *bytes.Buffer, indent int) {
	if len(o) == 0 {
		b.WriteString("{ }")
		return
	}
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + strings.Repeat("  ", indent+1))
		writeScalar(b, f.name)
		b.WriteString(" : ")
		writeValue(b, f.value, indent+1)
	}
	b.WriteString("\n" + strings.Repeat("  ", indent) + "}")
}

func writeValue(b *bytes.Buffer, v any, indent int) {
	switch v := v.(type) {
	case object:
		v.write(b, indent)
	case []object:
		writeArray(b, v, indent)
	case []int64:
		writeArray(b, v, indent)
	case []string:
		writeArray(b, v, indent)
	case float64:
		b.WriteString(metrics.JavaDouble(v))
	default:
		writeScalar(b, v)
	}
}

func writeArray[T any](b *bytes.Buffer, items []T, indent int) {
	b.WriteString("[ ")
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		writeValue(b, item, indent)
	}
	if len(items) > 0 {
		b.WriteByte(' ')
	}
	b.WriteByte(']')
}

func writeScalar(b *bytes.Buffer, v any) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("admin: field of type %T: %v", v, err)) // only a wrong command gets here
	}
	b.Truncate(b.Len() - 1) // Encode ends with a newline
}
