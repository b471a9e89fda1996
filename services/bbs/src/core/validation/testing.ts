// For the tests of this room: what a request is refused with.
import { isBbsError } from "@muster/shared/errors";

/** The texts of the refusal, or an empty list when the request is accepted. */
export function refusal(validate: () => void): readonly string[] {
  try {
    validate();
    return [];
  } catch (error) {
    if (isBbsError(error, "InvalidRequest")) return error.message.split(", ");
    throw error;
  }
}

/** The same for a list of field names in Diego's usual form. */
export const fields = (...names: readonly string[]): readonly string[] => names.map((name) => `Invalid field: ${name}`);
