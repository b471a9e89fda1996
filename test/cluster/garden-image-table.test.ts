// Every kind of image through every row of one table: start, files, users, volumes, ports, disk, stop, and nothing left. The Debian is packed
// out of this machine's own packages; a debootstrapped one goes through the same table in `npm run test:long`.
import { afterAll } from "vitest";
import { debianTable, expectNoMarker, hostileImage, plainImage, usersImage, volumesImage } from "../support/image-set.js";
import { describeImages } from "../support/image-table.js";
import { debianRoot } from "../support/images.js";

afterAll(expectNoMarker);

describeImages([plainImage, debianTable("a packed Debian", debianRoot), usersImage, volumesImage, hostileImage]);
