package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// What the audit log tells of a record, short enough for an entry: of a long list the
// beginning, and how much more there is.

const (
	// describedListBytesMax bounds a list, in bytes.
	describedListBytesMax = 512
	// describedItemBytesMax bounds one of its items, or a field, in bytes.
	describedItemBytesMax = 200
	// everything is what permissions are called that leave nothing out.
	everything = "everything"
)

// describeKey is what the audit log tells of a key.
func describeKey(key *APIKey) string {
	text := "allows " + describePermissions(key.Permissions)
	if !key.Expire.IsZero() {
		text += ", ends " + key.Expire.UTC().Format(time.RFC3339)
	}
	return text
}

func describePermissions(permissions tenancy.Permissions) string {
	if len(permissions) == 0 {
		return everything
	}
	allowed := make([]string, len(permissions))
	for i, p := range permissions {
		if p.Actions == tenancy.AllActions && p.Namespace == "" && len(p.Prefix) == 0 {
			return everything
		}
		allowed[i] = fmt.Sprintf("%s in %q under %q", p.Actions, p.Namespace, p.Prefix)
	}
	return beginning(allowed, ", ", describedListBytesMax)
}

// describeIssuer is what the audit log tells of an issuer: whom it lets in, and what
// they may. What a caller has chosen freely is quoted. The error is that of
// tenancy.ParsePermissions.
func describeIssuer(issuer *flotillav1.Issuer) (string, error) {
	rules := make([]string, len(issuer.GetRules()))
	for i, rule := range issuer.GetRules() {
		permissions, err := tenancy.ParsePermissions(rule.GetPermissions())
		if err != nil {
			return "", err
		}
		var claims []string
		for _, name := range slices.Sorted(maps.Keys(rule.GetClaims())) {
			claims = append(claims, fmt.Sprintf("%q=%q", name, rule.GetClaims()[name]))
		}
		// Each half has its part of the item, so that neither hides the other.
		const half = describedItemBytesMax / 2
		rules[i] = beginning(claims, " and ", half) + " allows " + shortened(describePermissions(permissions), half)
	}
	keys := "keys fetched"
	if issuer.GetJwks() != "" {
		keys = "keys given"
	}
	return fmt.Sprintf("%s for %s, %s: %s",
		shortened(issuer.GetIssuer(), describedItemBytesMax), shortened(strconv.Quote(issuer.GetAudience()), describedItemBytesMax),
		keys, beginning(rules, "; ", describedListBytesMax)), nil
}

// beginning is the first items of a list, each shortened to describedItemBytesMax, as
// many as take bytesMax but at least one, and how many more there are.
func beginning(items []string, separator string, bytesMax int) string {
	var text strings.Builder
	for i, item := range items {
		item = shortened(item, min(describedItemBytesMax, bytesMax))
		if i > 0 && text.Len()+len(separator)+len(item) > bytesMax {
			fmt.Fprintf(&text, "%sand %d more", separator, len(items)-i)
			break
		}
		if i > 0 {
			text.WriteString(separator)
		}
		text.WriteString(item)
	}
	return text.String()
}

// shortened is the beginning of a text that is longer than bytesMax.
func shortened(text string, bytesMax int) string {
	const more = "..."
	if len(text) <= bytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:bytesMax-len(more)], "") + more
}
