package tenancy

import "strings"

// NameBytesMax is the longest name of a tenant or namespace.
const NameBytesMax = 63

// DefaultNamespace is the namespace that a request without one means.
const DefaultNamespace = "default"

// reservedPrefix begins the names of tenants that belong to the platform.
const reservedPrefix = "flotilla-"

// ValidateName says whether a name may be a tenant's or a namespace's: 1 to 63
// of a-z, 0-9 and '-', neither beginning nor ending with '-'. The names are
// those of a DNS label, so that each can be part of a host name later. What
// says whose name it is, such as "namespace"; the error is an
// *InvalidNameError.
func ValidateName(what, name string) error {
	if len(name) < 1 || len(name) > NameBytesMax || name[0] == '-' || name[len(name)-1] == '-' {
		return &InvalidNameError{What: what, Name: name}
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return &InvalidNameError{What: what, Name: name}
		}
	}
	return nil
}

// ValidateTenant says whether a customer's tenant may have this name: those
// that begin with "flotilla-" belong to the platform.
func ValidateTenant(id TenantID) error {
	if strings.HasPrefix(string(id), reservedPrefix) {
		return &InvalidNameError{What: "tenant", Name: string(id)}
	}
	return ValidateName("tenant", string(id))
}
