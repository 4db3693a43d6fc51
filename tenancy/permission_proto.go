package tenancy

import (
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// PermissionsMax is how many permissions a credential may have.
const PermissionsMax = 64

const (
	// prefixBytesMax is the longest prefix of a permission, in bytes: that of a key.
	prefixBytesMax = 4 << 10
	// prefixesBytesMax is how long all prefixes of a credential are together, in
	// bytes. The platform keeps them in its own key space and its memory, and a token
	// must have room for them.
	prefixesBytesMax = 8 << 10
)

// InvalidPermissionError says what is wrong with the permissions of a request.
type InvalidPermissionError struct {
	// Message is what.
	Message string
}

func (e *InvalidPermissionError) Error() string { return "the permissions are not valid: " + e.Message }

func invalidPermission(format string, args ...any) error {
	return &InvalidPermissionError{Message: fmt.Sprintf(format, args...)}
}

// ParsePermissions reads permissions as the API has them. None is FullAccess. The
// error is an *InvalidPermissionError or an *InvalidNameError.
func ParsePermissions(list []*flotillav1.Permission) (Permissions, error) {
	if len(list) == 0 {
		return FullAccess(), nil
	}
	if len(list) > PermissionsMax {
		return nil, invalidPermission("a credential takes up to %d", PermissionsMax)
	}
	permissions := make(Permissions, len(list))
	prefixes := 0
	for i, p := range list {
		if p.GetNamespace() != "" {
			if err := ValidateName("namespace", p.GetNamespace()); err != nil {
				return nil, err
			}
		}
		if len(p.GetPrefix()) > prefixBytesMax {
			return nil, invalidPermission("a prefix takes up to %d bytes", prefixBytesMax)
		}
		if prefixes += len(p.GetPrefix()); prefixes > prefixesBytesMax {
			return nil, invalidPermission("the prefixes of a credential take up to %d bytes together", prefixesBytesMax)
		}
		permissions[i] = Permission{Namespace: p.GetNamespace(), Prefix: p.GetPrefix()}
		for _, action := range p.GetActions() {
			if action < flotillav1.Action_ACTION_READ || action > flotillav1.Action_ACTION_ADMIN {
				return nil, invalidPermission("there is no action %d", action)
			}
			permissions[i].Actions |= 1 << (action - 1)
		}
		if permissions[i].Actions == 0 {
			return nil, invalidPermission("each takes one action or more")
		}
	}
	return permissions, nil
}

// ParseNewPermissions reads permissions of a credential that is to be made, as
// ParsePermissions does, and refuses those whose actions would never be allowed
// because the namespace or the prefix leaves out what they need. Credentials that are
// stored may have such.
func ParseNewPermissions(list []*flotillav1.Permission) (Permissions, error) {
	permissions, err := ParsePermissions(list)
	if err != nil {
		return nil, err
	}
	for _, p := range permissions {
		if p.Actions&ActionAdmin != 0 && (p.Namespace != "" || len(p.Prefix) > 0) {
			return nil, invalidPermission("admin needs all namespaces: name no namespace and no prefix with it, and other actions in a permission of their own")
		}
		if p.Actions&ActionLease != 0 && len(p.Prefix) > 0 {
			return nil, invalidPermission("lease needs every key of the namespace, as a lease may have any: name no prefix with it, and other actions in a permission of their own")
		}
	}
	return permissions, nil
}

// Proto returns the permissions as the API has them.
func (ps Permissions) Proto() []*flotillav1.Permission {
	list := make([]*flotillav1.Permission, len(ps))
	for i, p := range ps {
		list[i] = &flotillav1.Permission{Namespace: p.Namespace, Prefix: p.Prefix}
		for bit := range actionNames {
			if p.Actions&(1<<bit) != 0 {
				list[i].Actions = append(list[i].Actions, flotillav1.Action(bit+1))
			}
		}
	}
	return list
}

// Within tells whether others allow all that these do, each of these within one of
// the others for each of its actions.
func (ps Permissions) Within(others Permissions) bool {
	for _, p := range ps {
		span := Span{Start: p.Prefix}
		if len(p.Prefix) > 0 {
			span.End = prefixEnd(p.Prefix)
		}
		if !others.Allow(p.Actions, p.Namespace, span) {
			return false
		}
	}
	return true
}
